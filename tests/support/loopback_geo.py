"""A server on this machine with GEO's layout: series, samples, archives and records."""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Sample:
    """A sample of the loopback GEO, with its supplementary files."""

    gsm: str
    title: str
    characteristics: tuple[str, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Series:
    """A series of the loopback GEO."""

    accession: str
    title: str = "A series for tests"
    organism: str = "Homo sapiens"
    pmid: str | None = "33712615"
    samples: list[Sample] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    relations: tuple[str, ...] = ()
    raw_tar: bool = True
    """Whether the samples' files lie in `_RAW.tar` as well."""

    def soft(self) -> str:
        """Give the family record in SOFT."""
        lines = [
            "^DATABASE = GeoMiame",
            "!Database_name = Gene Expression Omnibus (GEO)",
            f"^SERIES = {self.accession}",
            f"!Series_title = {self.title}",
            f"!Series_geo_accession = {self.accession}",
            *([f"!Series_pubmed_id = {self.pmid}"] if self.pmid else []),
            *(f"!Series_sample_id = {sample.gsm}" for sample in self.samples),
            *(f"!Series_supplementary_file = {url}" for url in self._urls()),
            *(f"!Series_relation = {relation}" for relation in self.relations),
            "!Series_relation = BioProject: https://www.ncbi.nlm.nih.gov/bioproject/PRJNA1",
            "^PLATFORM = GPL18573",
            f"!Platform_title = Illumina NextSeq 500 ({self.organism})",
        ]
        for sample in self.samples:
            lines += [
                f"^SAMPLE = {sample.gsm}",
                f"!Sample_title = {sample.title}",
                f"!Sample_geo_accession = {sample.gsm}",
                "!Sample_source_name_ch1 = cultured cells",
                f"!Sample_organism_ch1 = {self.organism}",
                *(f"!Sample_characteristics_ch1 = {text}" for text in sample.characteristics),
                *(
                    f"!Sample_supplementary_file_{i} = {_sample_url(sample.gsm, name)}"
                    for i, name in enumerate(sample.files, start=1)
                ),
                "!sample_table_begin",
                "!sample_table_end",
            ]
        return "\n".join(lines) + "\n"

    def matrix(self) -> str:
        """Give the head of the series matrix."""
        width = max((len(sample.characteristics) for sample in self.samples), default=0)
        rows = [
            ["!Series_title", self.title],
            ["!Series_geo_accession", self.accession],
            *([["!Series_pubmed_id", self.pmid]] if self.pmid else []),
            *(["!Series_supplementary_file", url] for url in self._urls()),
            ["!Sample_title", *(sample.title for sample in self.samples)],
            ["!Sample_geo_accession", *(sample.gsm for sample in self.samples)],
            ["!Sample_organism_ch1", *(self.organism for _ in self.samples)],
        ]
        for i in range(width):
            texts = (s.characteristics[i : i + 1] for s in self.samples)
            rows.append(["!Sample_characteristics_ch1", *("".join(text) for text in texts)])
        text = "\n".join(
            "\t".join([key, *(f'"{value}"' for value in values)]) for key, *values in rows
        )
        gsms = "\t".join(f'"{sample.gsm}"' for sample in self.samples)
        return f'{text}\n!series_matrix_table_begin\n"ID_REF"\t{gsms}\n!series_matrix_table_end\n'

    def archive(self) -> bytes:
        """Give `_RAW.tar`: the files of every sample."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for sample in self.samples:
                for name, data in sample.files.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        return stream.getvalue()

    def _urls(self) -> list[str]:
        archive = [f"{self.accession}_RAW.tar"] if self._has_archive() else []
        folder = f"ftp://ftp.ncbi.nlm.nih.gov/geo/{series_path(self.accession)}/suppl"
        return [f"{folder}/{name}" for name in [*archive, *self.files]]

    def _has_archive(self) -> bool:
        return self.raw_tar and any(sample.files for sample in self.samples)

    def pages(self) -> dict[str, bytes]:
        """Give everything that GEO serves of the series, by path."""
        folder = series_path(self.accession)
        found = {
            f"{folder}/soft/{self.accession}_family.soft.gz": gzip.compress(self.soft().encode()),
            f"{folder}/matrix/{self.accession}_series_matrix.txt.gz": gzip.compress(
                self.matrix().encode()
            ),
            f"query/acc.cgi?acc={self.accession}": self.soft().encode(),
        }
        found |= {f"{folder}/suppl/{name}": data for name, data in self.files.items()}
        if self._has_archive():
            found[f"{folder}/suppl/{self.accession}_RAW.tar"] = self.archive()
        for sample in self.samples:
            for name, data in sample.files.items():
                found[f"{sample_path(sample.gsm)}/suppl/{name}"] = data
        return found


def series_path(accession: str) -> str:
    return f"series/{accession[:-3]}nnn/{accession}"


def sample_path(gsm: str) -> str:
    return f"samples/{gsm[:-3]}nnn/{gsm}"


def _sample_url(gsm: str, name: str) -> str:
    return f"ftp://ftp.ncbi.nlm.nih.gov/geo/{sample_path(gsm)}/suppl/{name}"


@dataclass
class LoopbackGeo:
    """What the server gives, by path; a test changes it at any time."""

    url: str
    pages: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)
    """Bytes after which the connection breaks, by path."""

    def publish(self, series: Series) -> None:
        """Put a series on the server."""
        self.pages |= series.pages()

    def path_of(self, name: str) -> str:
        """Give the path of the page that ends so."""
        (path,) = (path for path in self.pages if path.endswith(f"/{name}"))
        return path


@contextmanager
def geo_server() -> Iterator[LoopbackGeo]:
    """Run a `LoopbackGeo` on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix("/")
            if path == "query/acc.cgi":
                path += f"?acc={parse_qs(parts.query)['acc'][0]}"
            geo.requests.append(path)
            body = geo.pages.get(path)
            if body is None and path.startswith("query/"):
                body = b"<html>Could not find the accession</html>"  # GEO answers 200
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write((body or b"")[: geo.cut.get(path)])

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        geo = LoopbackGeo(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield geo
        finally:
            server.shutdown()
            thread.join()
