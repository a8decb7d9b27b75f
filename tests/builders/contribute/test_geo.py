"""Records of a series: every form that GEO gives, and the worst that could be in one."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_geo import LoopbackGeo, Sample, Series, geo_server, sample_path, series_path

from cellresponse.builders.contribute.geo import file_url, read_series, record_addresses
from cellresponse.builders.contribute.geo_record import read_record
from cellresponse.schema.errors import EvidenceError, SourceFileError

SERIES = Series(
    "GSE900001",
    samples=[
        Sample("GSM9000001", "PC9 day 0", ("cell line: PC9", "treatment: none"), {"a.csv.gz": b""}),
        Sample("GSM9000002", "PC9 day 11", ("cell line: PC9", "treatment: erlotinib")),
    ],
    files={"GSE900001_meta.csv.gz": b"x"},
    relations=("SubSeries of: GSE900000", "Reanalysis of: GSE1"),
)


@pytest.fixture
def geo(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackGeo]:
    with geo_server() as server:
        monkeypatch.setenv("CELLRESPONSE_GEO", server.url)
        yield server


def no_wait(_: float) -> None:
    """Sleep for no time."""


@pytest.mark.parametrize(
    ("accession", "folder"),
    [
        ("GSE149214", "series/GSE149nnn/GSE149214"),
        ("GSE1234", "series/GSE1nnn/GSE1234"),
        ("GSE123", "series/GSEnnn/GSE123"),
        ("GSE5", "series/GSEnnn/GSE5"),
        ("GSM4494349", "samples/GSM4494nnn/GSM4494349"),
    ],
)
def test_addresses_follow_the_rule(
    accession: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CELLRESPONSE_GEO", raising=False)
    assert file_url(accession, "x.tar") == f"https://ftp.ncbi.nlm.nih.gov/geo/{folder}/suppl/x.tar"
    monkeypatch.setenv("CELLRESPONSE_GEO", "http://127.0.0.1:1/")
    assert file_url(accession, "a b#.tar") == f"http://127.0.0.1:1/{folder}/suppl/a%20b%23.tar"


def test_record_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELLRESPONSE_GEO", raising=False)
    soft, query, matrix = record_addresses("GSE900001")
    assert soft.endswith("/geo/series/GSE900nnn/GSE900001/soft/GSE900001_family.soft.gz")
    assert query.startswith("https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE900001&")
    assert matrix.endswith("/matrix/GSE900001_series_matrix.txt.gz")
    assert (series_path("GSE900001"), sample_path("GSM9000001")) == (
        "series/GSE900nnn/GSE900001",
        "samples/GSM9000nnn/GSM9000001",
    )


def test_family_record(geo: LoopbackGeo) -> None:
    geo.publish(SERIES)
    found = read_series("GSE900001", wait=no_wait)
    assert (found.title, found.pmids) == ("A series for tests", ("33712615",))
    assert found.organisms == ("Homo sapiens",)
    assert found.platforms == ("Illumina NextSeq 500 (Homo sapiens)",)
    assert found.files == ("GSE900001_RAW.tar", "GSE900001_meta.csv.gz")
    assert (found.parts, found.parents) == ((), ("GSE900000",))
    first, second = found.samples
    assert (first.gsm, first.title, first.files) == ("GSM9000001", "PC9 day 0", ("a.csv.gz",))
    assert second.characteristics == ("cell line: PC9", "treatment: erlotinib")
    assert found.holds_files()
    assert geo.requests == ["series/GSE900nnn/GSE900001/soft/GSE900001_family.soft.gz"]


def test_the_next_record_serves_where_one_is_missing(geo: LoopbackGeo) -> None:
    geo.publish(SERIES)
    whole = read_series("GSE900001", wait=no_wait)
    del geo.pages[geo.path_of("GSE900001_family.soft.gz")]
    assert read_series("GSE900001", wait=no_wait) == whole
    del geo.pages["query/acc.cgi?acc=GSE900001"]
    matrix = read_series("GSE900001", wait=no_wait)
    assert (matrix.title, matrix.files, matrix.pmids) == (whole.title, whole.files, whole.pmids)
    assert [s.gsm for s in matrix.samples] == [s.gsm for s in whole.samples]
    assert [s.characteristics for s in matrix.samples] == [s.characteristics for s in whole.samples]


def test_no_record_at_all(geo: LoopbackGeo) -> None:
    with pytest.raises(SourceFileError) as caught:
        read_series("GSE900001", wait=no_wait)
    assert str(caught.value).count("404 Not Found") == 2
    assert "no record of this series" in str(caught.value)


def test_a_server_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    with geo_server() as server:
        monkeypatch.setenv("CELLRESPONSE_GEO", server.url)
    with pytest.raises(SourceFileError, match="no connection"):
        read_series("GSE900001", wait=no_wait)


def test_not_a_series() -> None:
    with pytest.raises(EvidenceError, match="not a GEO series"):
        read_series("GSM1")


def soft(tmp_path: Path, text: bytes, *, packed: bool = True) -> Path:
    path = tmp_path / "record"
    path.write_bytes(gzip.compress(text) if packed else text)
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_hostile_lines(tmp_path: Path, packed: bool) -> None:
    text = (
        b"\xef\xbb\xbf^SERIES = GSE1\r\n"
        b"!Series_title = " + b"x" * 9_000_000 + b"\r\n"
        b"!Series_summary = 5 \xb5M \x00\x1b[31m of a drug\r\n"
        b"!Series_relation =\r\n!!!\n^\n= =\n"
        b"^SAMPLE = ../../etc\n!Sample_title = nowhere\n"
        b"^SAMPLE = GSM7\n!Sample_title = a\xe2\x80\xa8b\n"
        b"!Sample_supplementary_file_1 = ftp://h/geo/samples/GSM7/suppl/..\n"
        b"!Sample_supplementary_file_2 = ftp://h/suppl/a%0Ab.csv\n"
        b"!Sample_supplementary_file_3 = NONE\n"
        b"!sample_table_begin\nID_REF\tVALUE\n1\t2\n!sample_table_end"
    )
    record = read_record(soft(tmp_path, text, packed=packed), name="GSE1")
    assert record.series["title"] == ["x" * 2000]
    assert record.series["summary"] == ["5 µM [31m of a drug"]
    assert list(record.samples) == ["GSM7"]
    assert record.samples["GSM7"]["title"] == ["a b"]


def test_names_of_files_are_plain(geo: LoopbackGeo) -> None:
    text = "^SERIES = GSE1\n" + "".join(
        f"!Series_supplementary_file = {url}\n"
        for url in (
            "ftp://h/geo/series/GSEnnn/GSE1/suppl/..",
            "ftp://h/geo/series/GSEnnn/GSE1/suppl/a%0Ab.csv",
            "ftp://h/geo/series/GSEnnn/GSE1/suppl/a%5Cb.csv",
            "ftp://ftp-trace.ncbi.nlm.nih.gov/sra/sra-instant/SRX1",
            "NONE",
            "http://[bad/suppl/x",
            "ftp://h/geo/series/GSEnnn/GSE1/suppl/good%20name.csv",
        )
    )
    geo.pages["series/GSEnnn/GSE1/soft/GSE1_family.soft.gz"] = gzip.compress(text.encode())
    assert read_series("GSE1", wait=no_wait).files == ("x", "good name.csv")


@pytest.mark.parametrize("cut", [0, 1, 2, 20])
def test_damaged_records(tmp_path: Path, cut: int) -> None:
    path = soft(tmp_path, SERIES.soft().encode())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SourceFileError):
        read_record(path, name="GSE900001")


def test_a_record_of_another_series(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="no record of this series"):
        read_record(soft(tmp_path, SERIES.soft().encode()), name="GSE2")


def test_floods_are_refused(
    geo: LoopbackGeo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    geo.publish(SERIES)
    monkeypatch.setattr("cellresponse.builders.contribute.geo.MAX_RECORD_BYTES", 100)
    with pytest.raises(SourceFileError, match="more than 100 bytes"):
        read_series("GSE900001", wait=no_wait)
    monkeypatch.setattr("cellresponse.builders.contribute.geo_record.MAX_TEXT", 200)
    with pytest.raises(SourceFileError, match="more than 200 bytes"):
        read_record(soft(tmp_path, SERIES.soft().encode()), name="GSE900001")


@given(st.binary(max_size=300))
def test_any_bytes_give_a_record_or_one_error(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for text in (data, b"^SERIES = GSE1\n" + data, b'!Series_geo_accession\t"GSE1"\n' + data):
            path = Path(folder) / "record"
            path.write_bytes(text)
            try:
                record = read_record(path, name="GSE1")
            except SourceFileError:
                continue
            values = [v for said in record.samples.values() for vs in said.values() for v in vs]
            assert all(v.isprintable() or " " in v for v in values)
