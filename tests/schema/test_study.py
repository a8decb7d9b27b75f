"""The model of `study.yaml`: forms, and what must hold between its keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from studies import file_entry, manifest

from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.study import BarcodeRule, StudyManifest
from cellresponse.schema.yaml_file import read_yaml

ORIENTED = {"orientation": "features_by_cells"}
MEMBER = {"name": "a/counts.csv", "reader": "dense_text", "options": ORIENTED}
TABLE = {"rule": "table", "table": "cells.csv", "key_column": "sample"}


def refused(**keys: Any) -> dict[str, str]:
    """Give the messages by dotted key; the allowed words are part of a message."""
    with pytest.raises(ValidationError) as error:
        StudyManifest.model_validate(manifest(**keys))
    return {
        ".".join(map(str, found["loc"])): f"{found['msg']}; {found.get('ctx', {}).get('allowed')}"
        for found in error.value.errors()
    }


def test_a_right_manifest() -> None:
    study = StudyManifest.model_validate(manifest(year="2019", synthetic="no"))
    assert (study.revision, study.year, study.synthetic) == (1, 2019, False)
    assert list(study.matrices()) == ["counts.csv.gz"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("study_id", "../up", "an accession"),
        ("study_id", "GSE1\n", "an accession"),
        ("study_id", "", "an accession"),
        ("title", "", "a text that is not empty"),
        ("title", "  ", "a text that is not empty"),
        ("doi", "doi:10.1/x", "a DOI such as"),
        ("pmid", "PMID1", "the digits of a PubMed id"),
        ("pmid", "\u0661\u0662", "the digits of a PubMed id"),
        ("organism", "humann", "unknown organism; ['human'"),
        ("status", "redy", "unknown status; ['ready'"),
        ("access", "public", "unknown access; ['controlled', 'open']"),
        ("licence_url", "www.example.org", "not a web address"),
        ("licence_url", "https:///licence", "not a web address"),
        ("licence_url", "https://user:word@example.org", "must not hold a user name or password"),
        ("licence_url", "https://:word@example.org", "must not hold a user name or password"),
        ("licence_url", "http://[", "Invalid IPv6 URL"),
        ("revision", "0", "greater than 0"),
        ("revision", "-1", "greater than 0"),
        ("year", "1889", "greater than or equal to 1990"),
        ("synthetic", "perhaps", "valid boolean"),
    ],
)
def test_form_of_a_key(key: str, value: str, message: str) -> None:
    assert message in refused(**{key: value})[key]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "../counts.csv"}, "must not leave its folder"),
        ({"name": "a//b"}, "must not leave its folder"),
        ({"name": "./b"}, "must not leave its folder"),
        ({"name": "/etc/passwd"}, "not a plain file name"),
        ({"name": "a\\b"}, "not a plain file name"),
        ({"name": " a"}, "not a plain file name"),
        ({"name": ""}, "not a plain file name"),
        ({"url": "file:///etc/passwd"}, "not a web address"),
        ({"sha256": "A" * 64}, "64 digits 0-9 and a-f"),
        ({"sha256": "0" * 63}, "64 digits 0-9 and a-f"),
        ({"bytes": "0"}, "greater than 0"),
        ({"reader": "10x_h6"}, "unknown reader"),
        ({"options": {"a": {"b": "c"}}}, "a text, or a list of texts"),
        ({"options": {"a": ["b", ["c"]]}}, "a text, or a list of texts"),
        ({"members": [MEMBER]}, "belong together"),
        ({"reader": "archive", "members": [MEMBER, MEMBER]}, "two members have one name: a/count"),
        ({"reader": "archive", "members": [{"name": "b", "reader": "archive"}]}, "not read"),
        ({"barcodes": {"rule": "table", "table": "t.csv"}}, "needs key_column"),
        ({"barcodes": {"rule": "table", "key_column": "t"}}, "needs table"),
        ({"barcodes": {"rule": "pattern"}}, "needs pattern"),
        ({"barcodes": {"rule": "pattern", "pattern": "("}}, "not a regular expression"),
        ({"barcodes": {"rule": "pattern", "pattern": "(a)"}}, "group named key"),
        ({"barcodes": {"rule": "guess"}}, "unknown barcode rule"),
        ({"barcodes": {"rule": "cells", "columns": {"response": "x"}}}, "'cell_line'"),
    ],
)
def test_form_of_a_file(keys: dict[str, Any], message: str) -> None:
    messages = refused(files=[file_entry(**keys)])
    assert len(messages) == 1
    (key, said) = messages.popitem()
    assert key.startswith("files.0")
    assert message in said


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"files": []}, "lists its files"),
        ({"files": [file_entry(sha256=None)]}, "sha256 and bytes for every file"),
        ({"files": [file_entry(bytes=None)]}, "sha256 and bytes for every file"),
        ({"files": [file_entry(reader="archive")]}, "lists the members of counts.csv.gz"),
        ({"files": [file_entry(reader="r_object")]}, "no step reads counts.csv.gz"),
        ({"title": None}, "a study that is ready has a title"),
        ({"files": [file_entry(), file_entry()]}, "two files have one name: counts.csv.gz"),
        *(
            ({"status": status, "files": []}, f"the status {status} needs a reason")
            for status in ("excluded", "needs_conversion", "controlled")
        ),
        ({"files": [file_entry(barcodes=TABLE)]}, "not a file of the study: cells.csv"),
    ],
)
def test_keys_that_belong_together(keys: dict[str, Any], message: str) -> None:
    assert message in refused(**keys)[""]


@pytest.mark.parametrize(
    "keys",
    [
        {"status": "metadata", "files": []},
        {"status": "metadata", "files": [file_entry(reader="archive")], "title": None},
        {"status": "needs_conversion", "files": [file_entry(reader="r_object")], "reason": "R"},
        {"status": "metadata", "files": [file_entry(sha256=None, bytes=None)]},
        {"status": "excluded", "files": [], "reason": "no counts"},
        {"files": [file_entry(barcodes=TABLE), file_entry("cells.csv", reader="cell_table")]},
        {"files": [file_entry(options=ORIENTED | {"skip_columns": ["a", "b"], "id_column": None})]},
        {"files": [file_entry(reader="10x_h5")]},
        {"status": "metadata", "files": [file_entry(options={})]},
    ],
)
def test_what_is_allowed(keys: dict[str, Any]) -> None:
    assert StudyManifest.model_validate(manifest(**keys)).study_id == "GSE1"


def test_source_keys_and_disagreements() -> None:
    source = {"ref": "PMID:1", "kind": "paper"}
    assert "small letters" in refused(sources={"Smith 2020": source})["sources.Smith 2020.[key]"]
    assert "'paper'" in refused(sources={"a": source | {"kind": "rumour"}})["sources.a.kind"]
    one = {"about": "dose", "readings": ["1 uM"], "decision": "1 uM"}
    assert "at least 2" in refused(disagreements=[one])["disagreements.0.readings"]


@pytest.mark.parametrize("sources", [{}, {"paper": {"ref": "PMID:1", "kind": "paper"}}])
def test_stated_cells_name_a_source_of_the_study(sources: dict[str, Any]) -> None:
    stated = {"count": "10", "of": "cells", "source": "rumour"}
    messages = refused(cells_stated=stated, sources=sources)
    assert "'rumour' is not among the sources" in messages[""]


def test_matrices_are_named_within_their_archive() -> None:
    members = [
        MEMBER | {"barcodes": TABLE | {"table": "cells.csv"}},
        {"name": "cells.csv", "reader": "cell_table"},
    ]
    archive = file_entry("raw.tar", reader="archive", members=members)
    study = StudyManifest.model_validate(manifest(files=[archive, file_entry()]))
    assert list(study.matrices()) == ["raw.tar/a/counts.csv", "counts.csv.gz"]


def test_a_table_that_two_archives_have_is_named_with_its_archive() -> None:
    table = {"name": "cells.csv", "reader": "cell_table"}
    one, two = (
        file_entry(name, reader="archive", members=[MEMBER | {"barcodes": TABLE}, table])
        for name in ("one.tar", "two.tar")
    )
    assert StudyManifest.model_validate(manifest(files=[one, two])).status == "ready"
    alone = file_entry(barcodes=TABLE)
    assert "not a file of the study: cells.csv" in refused(files=[one, two, alone])[""]
    alone = file_entry(barcodes=TABLE | {"table": "two.tar/cells.csv"})
    assert StudyManifest.model_validate(manifest(files=[one, two, alone])).status == "ready"


def test_barcode_rule_of_a_file_by_default() -> None:
    study = StudyManifest.model_validate(manifest())
    assert study.files[0].barcodes == BarcodeRule(rule="whole_file")


def test_options_of_a_study_that_is_ready_are_complete() -> None:
    archive = file_entry("raw.tar", reader="archive", members=[MEMBER | {"options": {}}])
    mtx = file_entry("m.mtx", reader="10x_mtx")
    assert refused(files=[archive, file_entry(options={}), mtx]) == {
        "files.0.members.0.options.orientation": "the option is required; "
        "features_by_cells, cells_by_features",
        "files.1.options.orientation": "the option is required; "
        "features_by_cells, cells_by_features",
        "files.2.options.barcodes": "the option is required; a file of the study",
        "files.2.options.features": "the option is required; a file of the study",
    }


@pytest.mark.parametrize("status", ["ready", "metadata"])
@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ({"orientation": "genes_by_cells"}, "orientation", "does not fit; features_by_cells, cel"),
        ({"orientation": None}, "orientation", "required; features_by_cells, cells_by_features"),
        (ORIENTED | {"delimiter": "tabs"}, "delimiter", "fit; comma, tab, semicolon, space"),
        (ORIENTED | {"skip_columns": "a"}, "skip_columns", "a list of columns of the file"),
        (ORIENTED | {"delimter": "tab"}, "delimter", "unknown option; ['orientation', 'delimiter'"),
        ({"delimiter": "tab"}, "orientation", "the option is required; features_by_cells"),
    ],
)
def test_options_that_are_given_are_right(
    status: str, options: dict[str, Any], key: str, message: str
) -> None:
    messages = refused(status=status, files=[file_entry(options=options)])
    assert list(messages) == [f"files.0.options.{key}"]
    assert message in messages[f"files.0.options.{key}"]


def test_readers_of_no_counts_take_no_options() -> None:
    entry = file_entry("genes.tsv", reader="companion", options={"delimiter": "tab"})
    messages = refused(status="metadata", files=[entry])
    assert "the reader companion takes none; no options" in messages["files.0.options"]


MTX: dict[str, Any] = {
    "name": "m.mtx",
    "reader": "10x_mtx",
    "options": {"barcodes": "barcodes.tsv", "features": "features.tsv"},
}
LISTS: list[dict[str, Any]] = [
    {"name": f"{name}.tsv", "reader": "companion"} for name in ("barcodes", "features")
]


def archive_of(*members: dict[str, Any], name: str = "raw.tar") -> dict[str, Any]:
    return file_entry(name, reader="archive", members=list(members))


@pytest.mark.parametrize("status", ["ready", "metadata"])
def test_lists_of_a_matrix_are_files_of_the_study(status: str) -> None:
    options = {"barcodes": "barcode.tsv", "features": "raw.tar/features.tsv"}
    files = [
        file_entry("m.mtx", reader="10x_mtx", options=options),
        file_entry("barcodes.tsv", reader="companion"),
        archive_of(MTX, LISTS[0]),
    ]
    assert refused(status=status, files=files) == {
        "files.0.options.barcodes": "the study has no such file; "
        "['barcodes.tsv', 'raw.tar/barcodes.tsv']",
        "files.0.options.features": "the study has no such file; "
        "['barcodes.tsv', 'raw.tar/barcodes.tsv']",
        "files.2.members.0.options.features": "the study has no such file; "
        "['barcodes.tsv', 'raw.tar/barcodes.tsv']",
    }


def test_a_list_that_is_looked_like_is_named(tmp_path: Path) -> None:
    options = MTX["options"] | {"barcodes": "barcode.tsv"}
    files = [file_entry("m.mtx", reader="10x_mtx", options=options)]
    files += [file_entry(**one) for one in LISTS]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(manifest(files=files)))
    with pytest.raises(EvidenceError) as caught:
        read_yaml(tmp_path / "study.yaml", StudyManifest, name="study.yaml")
    assert caught.value.column == "files.0.options.barcodes"
    assert "'barcode.tsv'. Allowed: barcodes.tsv, features.tsv." in str(caught.value)
    assert "Did you mean barcodes.tsv?" in str(caught.value)


def test_a_matrix_or_archive_is_no_list() -> None:
    options = {"barcodes": "m.mtx", "features": "raw.tar"}
    files = [
        file_entry("m.mtx", reader="10x_mtx", options=options),
        archive_of({"name": "counts.csv", "reader": "dense_text", "options": ORIENTED}),
    ]
    said = "the study has no such file; a file listed under `files:` with the reader `companion`"
    assert refused(files=files) == {
        "files.0.options.barcodes": said,
        "files.0.options.features": said,
    }


@pytest.mark.parametrize(
    "files",
    [
        [archive_of(MTX, *LISTS)],
        [archive_of(MTX, *LISTS), archive_of(MTX, *LISTS, name="other.tar")],
        [file_entry(**MTX), archive_of(*LISTS)],
        [archive_of(MTX), *(file_entry(**one) for one in LISTS)],
        [
            archive_of(
                MTX | {"options": {key: f"raw.tar/{key}.tsv" for key in ("barcodes", "features")}},
                *LISTS,
            )
        ],
    ],
)
def test_names_of_lists(files: list[dict[str, Any]]) -> None:
    assert StudyManifest.model_validate(manifest(files=files)).study_id == "GSE1"


def test_a_name_in_two_archives_needs_its_archive() -> None:
    files = [file_entry(**MTX), archive_of(*LISTS), archive_of(*LISTS, name="other.tar")]
    messages = refused(files=files)
    assert list(messages) == ["files.0.options.barcodes", "files.0.options.features"]
    assert "other.tar/barcodes.tsv" in messages["files.0.options.barcodes"]
