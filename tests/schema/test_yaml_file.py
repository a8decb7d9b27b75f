"""Manifests are read strictly: no typing by YAML, and each mistake with its line."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from cellresponse.schema.errors import CellResponseError, EvidenceError, Problems
from cellresponse.schema.study import WEB, StudyManifest
from cellresponse.schema.vocabulary import words
from cellresponse.schema.yaml_file import MAX_BYTES, Strict, read_yaml


class Part(Strict):
    size: int = 1
    label: str | None = None


class Document(Strict):
    title: str
    count: Annotated[int, Field(ge=0)] = 0
    ratio: float = 0.0
    flag: bool = False
    parts: list[Part] = []
    named: dict[str, Part] = {}
    texts: list[str] = []


def read(folder: Path, content: str | bytes) -> Document:
    path = folder / "document.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(path, Document, name="document.yaml")


def refused(folder: Path, content: str | bytes) -> EvidenceError:
    with pytest.raises(EvidenceError) as error:
        read(folder, content)
    assert error.value.file == "document.yaml"
    return error.value


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "off",
        "True",
        "1e5",
        "0o17",
        "017",
        "2021-01-01",
        "12:30:00",
        ".inf",
        "0x1F",
        "=",
        "<<",
    ],
)
def test_text_stays_as_typed(tmp_path: Path, text: str) -> None:
    document = read(tmp_path, f"title: {text}\ntexts: [{text}]\n")
    assert (document.title, document.texts) == (text, [text])


@pytest.mark.parametrize("null", ["", "~", "null", "Null", "NULL"])
def test_null_is_null_and_quoted_is_text(tmp_path: Path, null: str) -> None:
    document = read(tmp_path, f"title: '{null}'\nparts:\n- label: {null}\n")
    assert (document.title, document.parts[0].label) == (null, None)


def test_models_type_the_text(tmp_path: Path) -> None:
    document = read(tmp_path, "title: t\ncount: 7\nratio: 1e-3\nflag: no\n")
    assert (document.count, document.ratio, document.flag) == (7, 0.001, False)


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbftitle: t\r\ncount: 2\r\n").count == 2


@pytest.mark.parametrize(
    ("content", "row", "problem"),
    [
        ("", None, "the file is empty"),
        ("# only a remark\n", None, "the file is empty"),
        ("- a\n- b\n", 1, "does not begin with a key"),
        ("just text", 1, "does not begin with a key"),
        ("title: [a\n", 2, "is not YAML"),
        ("title: a\n\tcount: 2\n", 2, "is not YAML"),
        ("title: a\ncount: 1\n  parts: 2\n", 3, "is not YAML"),
        ("title: 'a\n", 2, "is not YAML"),
        ("title: a\n---\ntitle: b\n", 2, "is not YAML"),
        ('title: "\\q"\n', 1, "is not YAML"),
        ("title: a\x00\n", None, "is not YAML"),
        ('title: "\\UFFFFFFFF"\n', None, "out of range"),
        ('title: "\\U00110000"\n', None, "out of range"),
        (f"%YAML {'9' * 5000}.1\n---\ntitle: a\n", None, "out of range"),
        ("title: a\ntitle: b\n", 2, "stands twice"),
        ("title: a\nparts:\n- size: 1\n  size: 2\n", 4, "stands twice"),
        ("title: a\n? [b]\n: c\n", 2, "plain text"),
        ("title: &name a\n", 1, "anchors and aliases"),
        ("title: a\ntexts: &t [b]\n", 2, "anchors and aliases"),
        ("title: *name\n", 1, "anchors and aliases"),
        ("title: !!python/object/apply:os.getcwd []\n", 1, "tags are not used"),
        ("count: !!int 3\n", 1, "tags are not used"),
        ("title: !mine a\n", 1, "tags are not used"),
        ('title: "a\\0b"\n', 1, "cannot be printed"),
        ('title: a\ntexts:\n- "\\ud800"\n', 3, "cannot be printed"),
        ('"\\e[2J": a\n', 1, "cannot be printed"),
    ],
)
def test_not_a_document(tmp_path: Path, content: str, row: int | None, problem: str) -> None:
    error = refused(tmp_path, content)
    assert problem in error.problem
    assert error.row == row


@pytest.mark.parametrize(
    ("content", "column", "row", "problem", "allowed"),
    [
        ("count: 1\n", "title", 1, "the key is missing", "a text"),
        ("title:\n", "title", 1, "is required", "a text"),
        ("title: a\ncount:\n", "count", 2, "is empty", "digits such as 12"),
        ("title: a\ntexts:\n- b\n-\n", "texts.1", 4, "is empty", "a text"),
        ("title: [a]\n", "title", 1, "not a text", "a text"),
        ("title: a\ncount: many\n", "count", 2, "not a whole number", "digits such as 12"),
        ("title: a\ncount: 1.5\n", "count", 2, "not a whole number", "digits such as 12"),
        ("title: a\n\n\ncount: -1\n", "count", 4, "too small", "at least 0"),
        ("title: a\nratio: '0,5'\n", "ratio", 2, "not a number", "a number such as 0.5"),
        ("title: a\nparts: b\n", "parts", 2, "not a list", "lines of `- value`"),
        ("title: a\nparts:\n- a\n", "parts.0", 3, "not keys with values", "lines of `key: value`"),
        (
            "title: a\nparts:\n- size: 1\n- size: x\n",
            "parts.1.size",
            4,
            "not a",
            "digits such as 12",
        ),
        ("title: a\nnamed:\n  x:\n    size: y\n", "named.x.size", 4, "not a", "digits such as 12"),
        ("title: a\ncuont: 1\n", "cuont", 2, "unknown key", ["count"]),
        ("title: a\nparts:\n- sise: 1\n", "parts.0.sise", 3, "unknown key", ["size"]),
        ("title: a\nnamed:\n  x:\n    labels: 1\n", "named.x.labels", 4, "unknown key", ["label"]),
        ("title: a\nparts:\n- qq: {a: b}\n", "parts.0.qq", 3, "unknown key", ["label", "size"]),
    ],
)
def test_document_does_not_fit(
    tmp_path: Path, content: str, column: str, row: int, problem: str, allowed: object
) -> None:
    error = refused(tmp_path, content)
    assert problem in error.problem
    assert (error.column, error.row, error.allowed) == (column, row, allowed)


def test_unknown_key_is_shown_not_its_value(tmp_path: Path) -> None:
    assert str(refused(tmp_path, "title: a\ncuont: 12345\n")) == (
        "document.yaml, row 2, column cuont: unknown key 'cuont'. Allowed: count."
    )


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(Problems) as several:
        read(tmp_path, "titel: a\ncount: x\n")
    assert [(each.column, each.row) for each in several.value.problems] == [
        ("title", 1),
        ("count", 2),
        ("titel", 1),
    ]


def test_not_utf8(tmp_path: Path) -> None:
    error = refused(tmp_path, "count: 1\ntitle: r\xe9\n".encode("latin-1"))
    assert (error.problem, error.row, error.hint) == ("is not UTF-8 text", 2, "Save it as UTF-8")
    assert refused(tmp_path, "title: a\n".encode("utf-16")).problem == "is not UTF-8 text"


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(EvidenceError, match="cannot be read"):
            read_yaml(path, Document)


def test_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(EvidenceError, match=f"too large.*{MAX_BYTES} bytes"):
        read_yaml(path, Document)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_at_once(tmp_path: Path, opening: str) -> None:
    began = time.monotonic()
    error = refused(tmp_path, "title: a\nparts:\n  " + opening * 200_000)
    assert "nested too deeply" in error.problem
    assert error.row == 3
    assert time.monotonic() - began < 5


def test_billion_laughs(tmp_path: Path) -> None:
    laughs = [
        "a: &a [ha]",
        *(f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
    ]
    assert "anchors and aliases" in refused(tmp_path, "\n".join(laughs)).problem


YAML_TEXT = st.lists(
    st.sampled_from(
        [*"abn019:-?!&*{}[]|>%@#'\"\\,.~ \n\t", "title", "\n  ", ": ", "\n- ", "\\U", "\\x", "---"]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60) | YAML_TEXT)
def test_any_text_gives_a_model_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    for prefix in (b"", b"title: "):
        try:
            document = read(folder, prefix + data)
        except CellResponseError as error:
            problems = error.problems if isinstance(error, Problems) else [error]
            assert {each.file for each in problems} == {"document.yaml"}
            str(error).encode()
        else:
            assert isinstance(document.title, str)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"title": st.text(st.characters(exclude_categories=["Cc", "Cs"]))},
        optional={
            "count": st.integers(0, 2**40),
            "texts": st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"]))),
        },
    )
)
def test_what_yaml_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]
) -> None:
    quoted = {
        key: str(value) if isinstance(value, int) else value for key, value in content.items()
    }
    text = yaml.safe_dump(quoted, allow_unicode=True, default_style='"')
    document = read(tmp_path_factory.getbasetemp(), text)
    assert document.model_dump(include=set(content)) == content


def test_manifest_model_reports_every_level(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("study_id: a b\nfiles:\n- name: ../x\n  url: file:///etc/passwd\n", "utf-8")
    with pytest.raises(Problems) as several:
        read_yaml(path, StudyManifest, name="study.yaml")
    rows = {each.column: each.row for each in several.value.problems}
    assert rows["study_id"] == 1
    assert rows["files.0.name"] == 3
    assert rows["files.0.url"] == 4
    assert rows["licence"] == 1


@pytest.mark.parametrize("blank", ["", " null", " ''", " ' '"])
@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("organism", words("organism").words),
        ("access", ["controlled", "open"]),
        ("status", words("status").words),
        ("licence", "a text that is not empty"),
        ("curator", "a text that is not empty"),
        ("revision", "digits such as 12"),
        ("files.0.name", "a name without spaces around it, `\\`, or `..`"),
        ("files.0.url", WEB),
        ("files.0.reader", words("reader").words),
        ("sources.paper.ref", "a text that is not empty"),
        ("sources.paper.kind", "'paper', 'database', 'benchmark_table', 'code' or 'source_file'"),
    ],
)
def test_empty_required_key_says_what_it_takes(
    tmp_path: Path, key: str, allowed: object, blank: str
) -> None:
    text = (
        "study_id: GSE1\norganism: human\nlicence: CC0-1.0\naccess: open\ncurator: me\n"
        "revision: 1\nstatus: metadata\nfiles:\n- name: a.h5\n  url: https://example.org/a\n"
        "  reader: 10x_h5\nsources:\n  paper:\n    ref: PMID:1\n    kind: paper\n"
    )
    last = key.rpartition(".")[2]
    path = tmp_path / "study.yaml"
    path.write_text(re.sub(rf"(?m)([ -]*{last}:) .*$", rf"\1{blank}", text), "utf-8")
    with pytest.raises(EvidenceError) as caught:
        read_yaml(path, StudyManifest, name="study.yaml")
    assert (caught.value.problem, caught.value.column) == ("is required", key)
    assert caught.value.value is None
    found = caught.value.allowed
    assert (set(found), len(found)) == (set(allowed), len(allowed))  # words in another order
    path.write_text(re.sub(rf"(?m)^([ -]*){last}: .*$", r"\1terms: x", text), "utf-8")
    with pytest.raises(CellResponseError, match="the key is missing"):
        read_yaml(path, StudyManifest, name="study.yaml")
