"""A new study's folder: complete, filled from GEO's record or blank, and refused as it is."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from geo_study import fill_in, series
from hypothesis import given
from hypothesis import strategies as st
from loopback_geo import LoopbackGeo, Sample, Series, geo_server

from cellresponse.builders.contribute.file_kinds import guess_reader
from cellresponse.builders.contribute.geo import GeoSample, GeoSeries
from cellresponse.builders.contribute.scaffold import Scaffold, new_study
from cellresponse.builders.contribute.scaffold_manifest import ManifestDraft
from cellresponse.builders.contribute.scaffold_samples import COLUMNS, sample_rows, samples_text
from cellresponse.curation.leftovers import manifest_leftovers
from cellresponse.curation.study import load_study
from cellresponse.schema.errors import EvidenceError, Problems
from cellresponse.schema.reader_options import READER_OPTIONS
from cellresponse.schema.study import StudyManifest
from cellresponse.schema.vocabulary import words
from cellresponse.schema.yaml_file import read_yaml

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def geo(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackGeo]:
    with geo_server() as server:
        monkeypatch.setenv("CELLRESPONSE_GEO", server.url)
        yield server


def new(accession: str, curation: Path) -> Scaffold:
    return new_study(accession, curation, wait=lambda _: None)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "samples.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_folder_from_the_record(geo: LoopbackGeo, tmp_path: Path) -> None:
    geo.publish(series(relations=("SubSeries of: GSE900000",)))
    made = new("gse900001", tmp_path)
    assert (made.folder, made.samples, made.blank) == (tmp_path / "GSE900001", 2, None)
    assert {path.name for path in made.folder.iterdir()} == {"study.yaml", "samples.csv"}
    text = (made.folder / "study.yaml").read_text()
    for line in (
        "title: A series for tests",
        "pmid: 33712615",
        "organism: human",
        "platform: Illumina NextSeq 500 (Homo sapiens)",
        "parent: GSE900000",
        "access: open",
        "status: metadata",
        f"    url: {geo.url}/series/GSE900nnn/GSE900001/suppl/GSE900001_RAW.tar",
        "      - name: GSM9000001_day0.csv.gz",
    ):
        assert line in text.splitlines()
    first, second = rows(made.folder)
    assert first["file"] == "GSE900001_RAW.tar/GSM9000001_day0.csv.gz"
    assert (first["sample_id"], first["gsm"], first["cell_line"]) == (
        "PC9_day0",
        "GSM9000001",
        "PC9",
    )
    assert second["note"] == "GEO: PC9 day11; cultured cells; cell line: PC9; treatment: day11"
    assert (second["treatment"], second["arm"], second["source_type"]) == ("", "TODO", "TODO")
    assert set(first) == set(COLUMNS)


def test_leftovers_are_refused_and_the_filled_folder_is_right(
    geo: LoopbackGeo, tmp_path: Path, run: Run
) -> None:
    geo.publish(series())
    made = new("GSE900001", tmp_path)
    with pytest.raises(Problems) as caught:
        load_study(made.folder)
    problems = caught.value.problems
    assert {problem.problem for problem in problems} == {"is not filled in yet"}
    assert len(problems) == made.placeholders
    places = {(problem.file, problem.column) for problem in problems}
    assert {
        ("GSE900001/study.yaml", "licence"),
        ("GSE900001/study.yaml", "curator"),
        ("GSE900001/study.yaml", "files.0.members.0.options.orientation"),
        ("GSE900001/samples.csv", "arm"),
        ("GSE900001/samples.csv", "fact_sources"),
    } <= places
    code, _, stderr = run("validate", "GSE900001", "--curation", tmp_path)
    assert code == 1
    assert "GSE900001/study.yaml, row 10, column licence: is not filled in yet 'TODO'" in stderr
    fill_in(made.folder)
    assert load_study(made.folder).manifest.status == "metadata"
    assert run("validate", "GSE900001", "--curation", tmp_path)[0] == 0


def test_blank_folder_where_the_server_is_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with geo_server() as server:
        monkeypatch.setenv("CELLRESPONSE_GEO", server.url)
    made = new("GSE900001", tmp_path)
    assert made.samples == 0
    assert "no connection" in str(made.blank)
    assert [row["sample_id"] for row in rows(made.folder)] == ["TODO"]
    assert "acc=GSE900001" in (made.folder / "study.yaml").read_text()
    with pytest.raises(Problems) as caught:
        load_study(made.folder)
    assert len(caught.value.problems) == made.placeholders


def test_blank_folder_says_what_each_key_takes(tmp_path: Path) -> None:
    with pytest.raises(Problems) as caught:
        load_study(new("E-MTAB-1", tmp_path).folder)
    said = {
        (str(problem.file).partition("/")[2], problem.column): (problem.allowed, problem.hint)
        for problem in caught.value.problems
    }
    required = "It is required"
    for key, vocabulary in (
        ("organism", "organism"),
        ("access", "access"),
        ("files.0.reader", "reader"),
    ):
        allowed, hint = said["study.yaml", key]
        assert (sorted(allowed or ()), hint) == (sorted(words(vocabulary).words), required)
    for key in ("licence", "curator", "files.0.name", "files.0.url", "sources.paper.ref"):
        assert said["study.yaml", key][1] == required
        assert said["study.yaml", key][0]
    assert said["samples.csv", "sample_id"][1] == required
    assert said["samples.csv", "arm"] == (words("arm").words, "A study that is ready needs it")
    assert said["study.yaml", "title"][1] == "A study that is ready needs it"
    optional = [key for (_, key), (_, hint) in said.items() if "stays empty" in str(hint)]
    assert optional == ["platform", "sources.paper.where"]


@pytest.mark.parametrize(
    ("reader", "options", "allowed"),
    [
        ("dense_text", "orientation: TODO", "features_by_cells, cells_by_features"),
        ("10x_mtx", "{barcodes: b.tsv, features: TODO}", "a file of the study"),
        ("h5ad", "layer: TODO", "X, raw/X, layers/NAME"),
    ],
)
def test_an_option_to_fill_in_says_what_it_takes(
    tmp_path: Path, reader: str, options: str, allowed: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"files:\n- reader: {reader}\n  options:\n    {options}\n", "utf-8")
    (problem,) = manifest_leftovers(path, name="study.yaml")
    assert (problem.row, problem.allowed) == (4, allowed)
    assert problem.hint is not None
    assert ("required" in problem.hint) == (reader != "h5ad")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.mtx", "a.h5", "a.h5ad"])
def test_required_options_are_written(name: str) -> None:
    guess = guess_reader(name, [name])
    assert guess is not None
    reader, options = guess
    fields = READER_OPTIONS[reader].model_fields
    assert options == {key: "TODO" for key, field in fields.items() if field.is_required()}
    draft = ManifestDraft(GeoSeries("GSE1", files=(name,)))
    for key in options:
        assert f"      {key}: TODO" in draft.text().splitlines()


def test_blank_folder_is_said(tmp_path: Path, run: Run) -> None:
    code, stdout, stderr = run("study", "new", "E-MTAB-1", "--curation", tmp_path)
    assert code == 0
    assert "nothing could be filled in: the accession is not one of a GEO series" in stderr
    assert f"wrote {tmp_path / 'E-MTAB-1'}: 0 samples" in stdout


def test_nothing_is_overwritten(tmp_path: Path, run: Run) -> None:
    assert run("study", "new", "E-MTAB-1", "--curation", tmp_path)[0] == 0
    (tmp_path / "E-MTAB-1" / "study.yaml").write_text("mine")
    code, _, stderr = run("study", "new", "E-MTAB-1", "--curation", tmp_path)
    assert (code, "is not overwritten" in stderr) == (1, True)
    assert (tmp_path / "E-MTAB-1" / "study.yaml").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["E-MTAB-1"]


@pytest.mark.parametrize("accession", ["GSM1", "../x", "a/b", ".", "", "a" * 200, "x\n"])
def test_what_is_no_study(accession: str, tmp_path: Path) -> None:
    with pytest.raises(EvidenceError):
        new(accession, tmp_path / "curation")
    assert list(tmp_path.iterdir()) == []


def test_superseries_names_the_parts_with_files(geo: LoopbackGeo, tmp_path: Path) -> None:
    parts = ("SuperSeries of: GSE900001", "SuperSeries of: GSE900002", "SuperSeries of: GSE900003")
    geo.publish(Series("GSE900000", relations=parts))
    geo.publish(series())
    geo.publish(Series("GSE900002"))
    with pytest.raises(EvidenceError) as caught:
        new("GSE900000", tmp_path)
    message = str(caught.value)
    assert "GSE900001 (holds files), GSE900002 (no files), GSE900003 (cannot be read)" in message
    assert "study new GSE900001" in message
    assert list(tmp_path.iterdir()) == []


def test_files_of_samples_without_an_archive(geo: LoopbackGeo, tmp_path: Path) -> None:
    geo.publish(series(raw_tar=False))
    folder = new("GSE900001", tmp_path).folder
    url = f"{geo.url}/samples/GSM9000nnn/GSM9000002/suppl/GSM9000002_day11.csv.gz"
    assert f"    url: {url}" in (folder / "study.yaml").read_text().splitlines()
    assert rows(folder)[1]["file"] == "GSM9000002_day11.csv.gz"


def test_one_matrix_of_several_samples_needs_a_barcode_rule(
    geo: LoopbackGeo, tmp_path: Path
) -> None:
    samples = [Sample("GSM9000001", "a"), Sample("GSM9000002", "a")]
    names = ("GSE900001_counts.csv.gz", "GSE900001_metadata.csv.gz")
    geo.publish(Series("GSE900001", samples=samples, files=dict.fromkeys(names, b"")))
    folder = new("GSE900001", tmp_path).folder
    assert "      rule: TODO" in (folder / "study.yaml").read_text().splitlines()
    assert [(row["sample_id"], row["file"]) for row in rows(folder)] == [
        ("a", names[0]),
        ("GSM9000002", names[0]),
    ]


def test_r_objects_need_a_conversion(geo: LoopbackGeo, tmp_path: Path) -> None:
    files = dict.fromkeys(("GSE900001_a.rds.gz", "GSE900001_b.bw"), b"")
    geo.publish(Series("GSE900001", samples=[Sample("GSM9000001", "a")], files=files))
    text = (new("GSE900001", tmp_path).folder / "study.yaml").read_text()
    assert "status: needs_conversion\nreason: TODO" in text
    assert "    reader: r_object" in text
    assert "# no reader takes GSE900001_b.bw" in text


def test_organisms_that_differ_are_for_the_curator() -> None:
    draft = ManifestDraft(GeoSeries("GSE1", organisms=("Homo sapiens", "Mus musculus")))
    assert "organism: TODO  # GEO says: Homo sapiens, Mus musculus" in draft.text()


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("a.h5ad", "h5ad"),
        ("a_filtered_feature_bc_matrix.h5", "10x_h5"),
        ("GSM1_barcodes.tsv.gz", "companion"),
        ("GSM1_x.features.tsv.gz", "companion"),
        ("GSM1_genes.tsv", "companion"),
        ("GSE1_cell_annotation.csv.gz", "cell_table"),
        ("GSE1_expr.txt.gz", "dense_text"),
        ("GSE1_x.tar.gz", "archive"),
        ("GSE1_x.RDS", "r_object"),
        ("GSE1_x.bw", None),
        ("README", None),
    ],
)
def test_readers_are_guessed(name: str, reader: str | None) -> None:
    guess = guess_reader(name, [name])
    assert (guess and guess[0]) == reader


def test_lists_of_a_matrix_are_found() -> None:
    names = [f"GSM{i}_x_{part}.gz" for i in (1, 2) for part in ("matrix.mtx", "barcodes.tsv")]
    names += ["GSM1_x_features.tsv.gz"]
    assert guess_reader("GSM1_x_matrix.mtx.gz", names) == (
        "10x_mtx",
        {"barcodes": "GSM1_x_barcodes.tsv.gz", "features": "GSM1_x_features.tsv.gz"},
    )
    assert guess_reader("GSM2_x_matrix.mtx.gz", names) == (
        "10x_mtx",
        {"barcodes": "GSM2_x_barcodes.tsv.gz", "features": "TODO"},
    )


TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=40).map(
    lambda text: " ".join(text.split())
)


@given(title=TEXT, file=TEXT, note=TEXT)
def test_any_text_of_a_record_gives_a_readable_folder(
    tmp_path_factory: pytest.TempPathFactory, title: str, file: str, note: str
) -> None:
    name = f"{file.translate(dict.fromkeys(map(ord, '/\\\\'), '_'))}x.h5ad"
    sample = GeoSample("GSM1", title, note, "Homo sapiens", (f"tissue: {note}",), (name,))
    draft = ManifestDraft(
        GeoSeries("GSE1", title, organisms=("Homo sapiens",), platforms=(note,), samples=(sample,))
    )
    folder = tmp_path_factory.mktemp("study")
    text = draft.text().replace("TODO", "filled")
    (folder / "study.yaml").write_text(text, "utf-8")
    manifest = read_yaml(folder / "study.yaml", StudyManifest)
    assert manifest.files[0].name == name.replace("TODO", "filled")
    assert manifest.title == (title.replace("TODO", "filled") or "filled")
    (row,) = csv.DictReader(
        samples_text(sample_rows([sample], draft.file_of)).splitlines(keepends=True)
    )
    assert row["file"] == name
    assert row["note"].startswith("GEO: ")
