"""Pinning on a loopback GEO: everything fits and one file changes, or nothing does."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from geo_study import NAMES, fill_in, matrix, series
from loopback_geo import LoopbackGeo, Sample, Series, geo_server
from mini_release import Project, counts, dense_csv

from cellresponse.builders.contribute.manifest_edit import edited, removed
from cellresponse.builders.contribute.pin import Pinned, pin_study
from cellresponse.builders.contribute.scaffold import new_study
from cellresponse.builders.sources.fetch import fetch
from cellresponse.curation.study import load_study
from cellresponse.releases.verify import verify
from cellresponse.schema.errors import (
    CellResponseError,
    CountsError,
    EvidenceError,
    Problems,
    SourceFileError,
)

Run = Callable[..., tuple[int, str, str]]
STUDY = "GSE900001"
ARCHIVE = "GSE900001_RAW.tar"


@pytest.fixture
def geo(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackGeo]:
    with geo_server() as server:
        monkeypatch.setenv("CELLRESPONSE_GEO", server.url)
        yield server


@pytest.fixture
def curation(geo: LoopbackGeo, tmp_path: Path) -> Path:
    """A folder with one study, filled in, whose files are on the server."""
    return prepare(geo, tmp_path / "curation", series())


def prepare(geo: LoopbackGeo, curation: Path, published: Series) -> Path:
    geo.publish(published)
    fill_in(new_study(STUDY, curation).folder)
    load_study(curation / STUDY)
    return curation


def pin(curation: Path, **options: object) -> Pinned:
    cache = curation.parent / "cache"
    return pin_study(STUDY, curation, cache=cache, wait=lambda _: None, **options)  # type: ignore[arg-type]


def content(curation: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(curation)): path.read_bytes()
        for path in sorted(curation.rglob("*"))
        if path.is_file()
    }


def refused(
    curation: Path, error: type[CellResponseError] = CellResponseError, **options: object
) -> str:
    """Pin, expect one error, and the folder as it was."""
    before = content(curation)
    with pytest.raises(error) as caught:
        pin(curation, **options)
    assert content(curation) == before
    return str(caught.value)


def test_the_whole_way(geo: LoopbackGeo, project: Project, tmp_path: Path, run: Run) -> None:
    """From an accession to a verified release: new, fill in, pin, validate, build."""
    geo.publish(series())
    folders = ("--curation", project.curation, "--cache", project.folder / "cache")
    assert run("study", "new", STUDY, *folders[:2])[0] == 0
    assert run("validate", STUDY, *folders[:2])[0] == 1
    fill_in(project.curation / STUDY)
    code, stdout, stderr = run("study", "pin", STUDY, *folders)
    assert code == 0, stderr
    assert f"{STUDY} is ready" in stdout
    assert hashlib.sha256(geo.pages[geo.path_of(ARCHIVE)]).hexdigest() in stdout
    code, stdout, _ = run("validate", STUDY, *folders[:2])
    assert code == 0
    assert f"{STUDY}  ready, revision 2: 2 of 2 samples labelled" in stdout
    spec = project.spec.read_text().replace(
        "  MINI1:\n    revision: 1", f"  {STUDY}:\n    revision: 2"
    )
    project.spec.write_text(spec)
    asked = len(geo.requests)
    release = project.build(tmp_path / "out")
    assert geo.requests[asked:] == []  # what `pin` fetched is not fetched again
    verify(release.folder)
    cells = release.cells(study=STUDY)
    assert set(cells.obs["response"]) == {"resistant", "sensitive"}
    assert set(cells.obs["drug_id"]) == {"erlotinib"}


def test_comments_and_order_survive(geo: LoopbackGeo, curation: Path) -> None:
    path = curation / STUDY / "study.yaml"
    text = path.read_text().replace("status: metadata", "status: metadata  # not yet")
    text = text.replace("curator: tests", "reason: >-\n  files are\n  not pinned\ncurator: 'tests'")
    path.write_text(text)
    data = geo.pages[geo.path_of(ARCHIVE)]
    pinned = pin(curation)
    assert (pinned.changed, pinned.added) == (True, ())
    assert pinned.files[ARCHIVE].bytes == len(data)
    url = f"    url: {geo.url}/{geo.path_of(ARCHIVE)}\n"
    sums = f"    sha256: {hashlib.sha256(data).hexdigest()}\n    bytes: {len(data)}\n"
    expected = text.replace("reason: >-\n  files are\n  not pinned\n", "")
    expected = expected.replace("status: metadata  #", "status: ready  #")
    expected = expected.replace("revision: 1", "revision: 2").replace(url, url + sums)
    assert path.read_text() == expected


def test_a_second_run_changes_nothing_and_asks_the_server_again(
    geo: LoopbackGeo, curation: Path
) -> None:
    pin(curation)
    before, asked = content(curation), len(geo.requests)
    again = pin(curation)
    assert (again.changed, list(again.files)) == (False, [ARCHIVE])
    assert content(curation) == before
    assert geo.requests[asked:] == [geo.path_of(ARCHIVE)]


def test_a_download_that_was_damaged_since_is_fetched_again(
    geo: LoopbackGeo, curation: Path
) -> None:
    pinned = pin(curation).files[ARCHIVE]
    cache = curation.parent / "cache"
    (kept,) = cache.rglob(ARCHIVE)
    kept.write_bytes(b"x" * pinned.bytes)
    (file,) = load_study(curation / STUDY).manifest.files
    asked = len(geo.requests)
    found = fetch(file, study_id=STUDY, cache=cache, mirror=None)
    assert geo.requests[asked:] == [geo.path_of(ARCHIVE)]
    assert hashlib.sha256(found.read_bytes()).hexdigest() == pinned.sha256
    assert found == kept


def test_missing_files_are_all_named(geo: LoopbackGeo, tmp_path: Path) -> None:
    curation = prepare(geo, tmp_path / "curation", series(raw_tar=False))
    for name in ("GSM9000001_day0.csv.gz", "GSM9000002_day11.csv.gz"):
        del geo.pages[geo.path_of(name)]
    message = refused(curation, Problems)
    assert message.count("the server answers 404 Not Found") == 2
    assert "GSM9000001_day0.csv.gz" in message
    assert "GSM9000002_day11.csv.gz" in message


def test_changed_file_says_both_checksums(geo: LoopbackGeo, curation: Path) -> None:
    before = pin(curation).files[ARCHIVE].sha256
    old = geo.pages[geo.path_of(ARCHIVE)]
    geo.pages[geo.path_of(ARCHIVE)] = old + b"\0" * 512
    message = refused(curation, SourceFileError)
    after = hashlib.sha256(geo.pages[geo.path_of(ARCHIVE)]).hexdigest()
    assert before in message
    assert after in message
    geo.pages[geo.path_of(ARCHIVE)] = old
    assert not pin(curation).changed


def test_changed_file_in_the_mirror(geo: LoopbackGeo, curation: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    (mirror / STUDY).mkdir(parents=True)
    (mirror / STUDY / ARCHIVE).write_bytes(geo.pages[geo.path_of(ARCHIVE)])
    del geo.pages[geo.path_of(ARCHIVE)]
    assert pin(curation, mirror=mirror).changed
    (mirror / STUDY / ARCHIVE).write_bytes(b"other")
    assert "has changed at its source" in refused(curation, mirror=mirror)
    assert "no such mirror" in refused(curation, SourceFileError, mirror=tmp_path / "none")


def test_half_pinned_size(geo: LoopbackGeo, curation: Path) -> None:
    path = curation / STUDY / "study.yaml"
    path.write_text(
        path.read_text().replace("    reader: archive", "    bytes: 7\n    reader: archive")
    )
    message = refused(curation, SourceFileError)
    assert f"bytes 7, and {geo.url}" in message
    assert f"gives {len(geo.pages[geo.path_of(ARCHIVE)])}" in message


def test_connection_that_breaks(geo: LoopbackGeo, curation: Path) -> None:
    geo.cut[geo.path_of(ARCHIVE)] = 1000
    assert "the connection broke after" in refused(curation, SourceFileError)
    geo.cut.clear()
    assert pin(curation).changed


@pytest.mark.parametrize("size", [0, 700, 2000])
def test_truncated_archive(geo: LoopbackGeo, curation: Path, size: int) -> None:
    whole = geo.pages[geo.path_of(ARCHIVE)]
    geo.pages[geo.path_of(ARCHIVE)] = whole[:size]
    assert f"{STUDY}/{ARCHIVE}" in refused(curation, SourceFileError)
    geo.pages[geo.path_of(ARCHIVE)] = whole
    assert pin(curation).changed


def test_truncated_gzip_inside(geo: LoopbackGeo, tmp_path: Path) -> None:
    published = series()
    name = "GSM9000001_day0.csv.gz"
    published.samples[0].files[name] = matrix(1)[:200]
    curation = prepare(geo, tmp_path / "curation", published)
    assert name in refused(curation, SourceFileError)


def test_member_that_is_not_there(geo: LoopbackGeo, curation: Path) -> None:
    published = series()
    published.samples[0].files = {"GSM9000001_day0_v2.csv.gz": matrix(1)}
    geo.pages[geo.path_of(ARCHIVE)] = published.archive()
    message = refused(curation, SourceFileError)
    assert "no such member 'GSM9000001_day0.csv.gz'" in message
    assert "GSM9000001_day0_v2.csv.gz" in message


def test_values_that_are_no_counts(geo: LoopbackGeo, tmp_path: Path) -> None:
    published = series()
    scaled = dense_csv(counts(1, 12) / 2 - 1, NAMES, [f"c{i}" for i in range(12)])
    published.samples[0].files["GSM9000001_day0.csv.gz"] = scaled
    curation = prepare(geo, tmp_path / "curation", published)
    assert "does not hold raw counts" in refused(curation, CountsError)


def test_a_table_that_is_read_the_wrong_way_round(geo: LoopbackGeo, tmp_path: Path) -> None:
    published = series()
    ids = [f"ENSG{number:011d}" for number in range(len(NAMES))]
    for name in published.samples[0].files:
        published.samples[0].files[name] = dense_csv(
            counts(1, 12), ids, [f"c{i}" for i in range(12)]
        )
    curation = prepare(geo, tmp_path / "curation", published)
    path = curation / STUDY / "study.yaml"
    path.write_text(path.read_text().replace("features_by_cells", "cells_by_features", 1))
    message = refused(curation, SourceFileError)
    assert f"{len(NAMES):,} of its {len(NAMES):,} cells are named like genes" in message
    assert "which way round the table is" in message


def test_barcodes_that_do_not_match(geo: LoopbackGeo, curation: Path) -> None:
    folder = curation / STUDY
    text = (folder / "study.yaml").read_text()
    rule = "        barcodes:\n          rule: pattern\n          pattern: ^(?P<key>[a-z]+)\n"
    options = "          orientation: features_by_cells\n"
    (folder / "study.yaml").write_text(text.replace(options, options + rule))
    table = (folder / "samples.csv").read_text()
    for gsm, key in (("GSM9000001", "c"), ("GSM9000002", "x")):
        table = table.replace(f",,{gsm}", f",{key},{gsm}")
    (folder / "samples.csv").write_text(table)
    message = refused(curation, EvidenceError)
    assert "no barcode of" in message
    assert "column barcode_key" in message
    assert "'x'" in message


def test_archive_without_members(geo: LoopbackGeo, curation: Path) -> None:
    path = curation / STUDY / "study.yaml"
    path.write_text(path.read_text().split("    members:")[0])
    message = refused(curation, EvidenceError)
    assert f"column files.0.members: the archive lists no members '{ARCHIVE}'" in message
    path.write_text(path.read_text().split("files:")[0])
    assert f"study new {STUDY} --curation DIR" in refused(curation, EvidenceError)
    assert geo.path_of(ARCHIVE) not in geo.requests


def test_evidence_is_checked_before_anything_is_fetched(geo: LoopbackGeo, curation: Path) -> None:
    path = curation / STUDY / "samples.csv"
    path.write_text(path.read_text().replace("GSE900001_RAW.tar/GSM9000001", "GSM9000001"))
    assert "not a count matrix of study.yaml" in refused(curation)
    assert geo.path_of(ARCHIVE) not in geo.requests


def test_no_label_follows(geo: LoopbackGeo, curation: Path) -> None:
    path = curation / STUDY / "samples.csv"
    path.write_text(path.read_text().replace("survived", "").replace("died", ""))
    assert "no label follows" in refused(curation, EvidenceError)


def test_new_samples_are_added_for_the_curator(
    geo: LoopbackGeo, curation: Path, tmp_path: Path, run: Run
) -> None:
    published = series()
    published.samples += [
        Sample("GSM9000003", "PC9 day0", ("cell line: PC9",)),
        Sample("GSM9000004", "PC9, day 19"),
    ]
    geo.publish(published)
    before = content(curation)
    code, stdout, _ = run(
        "study", "pin", STUDY, "--curation", curation, "--cache", tmp_path / "cache"
    )
    assert code == 1
    assert "lacked 2 samples that GEO lists" in stdout
    after = content(curation)
    table = f"{STUDY}/samples.csv"
    assert after[table].startswith(before[table])
    assert {name for name in after if after[name] != before[name]} == {table}
    added = after[table][len(before[table]) :].decode().splitlines()
    assert added[0].startswith("GSM9000003,TODO,,GSM9000003,,PC9,")
    assert added[1].startswith("PC9_day_19,TODO,,GSM9000004,")
    with pytest.raises(Problems, match="row 4, column file: is not filled in yet 'TODO'"):
        pin(curation)
    # The curator leaves both out, and says so.
    (curation / table).write_bytes(before[table])
    path = curation / STUDY / "study.yaml"
    path.write_text(path.read_text() + "notes: GSM9000003 and GSM9000004 are bulk samples.\n")
    assert pin(curation).changed


def test_new_samples_of_a_table_without_gsms(geo: LoopbackGeo, tmp_path: Path) -> None:
    data = matrix(1)
    samples = [Sample("GSM9000001", "a"), Sample("GSM9000002", "b,c")]
    geo.publish(Series(STUDY, samples=samples, files={"GSE900001_all.csv.gz": data}))
    folder = tmp_path / "curation" / STUDY
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(
        f"study_id: {STUDY}\ntitle: A title\norganism: human\nlicence: none\naccess: open\n"
        "curator: tests\nrevision: 3\nstatus: metadata\nsources: {}\nfiles:\n"
        f"  - {{name: GSE900001_all.csv.gz, url: '{geo.url}/x', reader: dense_text,"
        " options: {orientation: features_by_cells}}\n"
    )
    (folder / "samples.csv").write_text('sample_id,collection,note\na,primary,"one, two"\n')
    pinned = pin(tmp_path / "curation")
    assert pinned.added == ("GSM9000001", "GSM9000002")
    header, old, first, second = (folder / "samples.csv").read_text().splitlines()
    assert header == "sample_id,collection,note,file,source_type,arm,fact_sources,gsm"
    assert old == 'a,primary,"one, two",,,,,'
    assert first.split(",")[0] == "GSM9000001"  # `a` is taken
    assert second.startswith('b_c,primary,"GEO: b,c; cultured cells",GSE900001_all.csv.gz,TODO')


def test_geo_down_and_a_mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with geo_server() as server:
        monkeypatch.setenv("CELLRESPONSE_GEO", server.url)
        curation = prepare(server, tmp_path / "curation", series())
        mirror = tmp_path / "mirror" / STUDY
        mirror.mkdir(parents=True)
        (mirror / ARCHIVE).write_bytes(server.pages[server.path_of(ARCHIVE)])
    told: list[str] = []
    pinned = pin(curation, mirror=mirror.parent, report=lambda line, **_: told.append(line))
    assert pinned.changed
    assert "the sample list is not compared with GEO's" in told[0]


@pytest.mark.parametrize("status", ["controlled", "needs_conversion", "excluded"])
def test_status_that_is_not_pinned(curation: Path, status: str) -> None:
    path = curation / STUDY / "study.yaml"
    text = path.read_text().replace("status: metadata", f"status: {status}\nreason: because")
    path.write_text(text)
    message = refused(curation, EvidenceError)
    assert f"not pinned {status!r}" in message
    assert "because" in message


def test_no_such_study(curation: Path, run: Run) -> None:
    code, _, stderr = run("study", "pin", "GSE7", "--curation", curation)
    assert (code, "python cli.py study new GSE7" in stderr) == (1, True)
    assert run("study", "pin", "../curation/GSE900001", "--curation", curation)[0] == 1


def test_an_interrupted_download_goes_on(geo: LoopbackGeo, tmp_path: Path) -> None:
    curation = prepare(geo, tmp_path / "curation", series(raw_tar=False))
    second = geo.path_of("GSM9000002_day11.csv.gz")
    data = geo.pages.pop(second)
    refused(curation, SourceFileError)
    geo.pages[second] = data
    asked = len(geo.requests)
    assert pin(curation).changed
    assert geo.requests[asked + 1 :] == [second]  # what had come is not fetched again


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_values_are_set_in_place(end: str) -> None:
    text = end.join(
        [
            "# head",
            "revision: 1 # one",
            "status: 'metadata'",
            "files:",
            "- name: a  # first",
            "  url: http://a/b  # where",
            "  sha256:",
            "  bytes: null",
            "  reader: x",
            "- {url: u, name: b}",
            "-   name: c",
            "    url: >-",
            "      http://long",
        ]
    )
    values = {("revision",): "2", ("status",): "ready"}
    for place in range(3):
        values |= {("files", place, "sha256"): f"s{place}", ("files", place, "bytes"): str(place)}
    assert edited(text, values) == end.join(
        [
            "# head",
            "revision: 2 # one",
            "status: ready",
            "files:",
            "- name: a  # first",
            "  url: http://a/b  # where",
            "  sha256: s0",
            "  bytes: 0",
            "  reader: x",
            "- {url: u, sha256: s1, bytes: 1, name: b}",
            "-   name: c",
            "    url: >-",
            "      http://long",
            "    sha256: s2",
            "    bytes: 2",
            "",
        ]
    )


def test_keys_are_removed() -> None:
    text = "a: 1\nreason: b  # why\nc: 2\n"
    assert removed(text, "reason") == "a: 1\nc: 2\n"
    assert removed(text, "other") == text
    assert removed("a: 1\nreason: b", "reason") == "a: 1\n"


def test_a_packed_record_is_no_matrix(geo: LoopbackGeo, curation: Path) -> None:
    """A page in place of a file, as servers give for what has moved."""
    geo.pages[geo.path_of(ARCHIVE)] = gzip.compress(b"<html>moved</html>")
    assert "no tar or zip archive" in refused(curation, SourceFileError)
