"""Mistakes made on purpose in the files of a study, each with the place that an error must name."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cellresponse.curation.evidence_table import MAX_LINE_BYTES
from cellresponse.schema.evidence import EVIDENCE_TABLES
from cellresponse.schema.yaml_file import MAX_BYTES

__all__ = ["SPOILERS", "Spoiled"]


@dataclass(frozen=True)
class Spoiled:
    """Where the mistake is.

    Attributes
    ----------
    row, column, value
        None where it is in no single row, column or value.
    """

    file: str
    row: int | None = None
    column: str | None = None
    value: str | None = None


type Spoil = Callable[[Path, random.Random], Spoiled | None]
"""Makes a mistake in a study's folder; None where the study has nothing to spoil so."""

NOT_A_WORD = ("Zzyzx", "qwrtpsd", "no such word", "???", "12345")
TYPES = {
    "exposure_days": ("ten", "5-", "-3", "1_0", "nan", "٣", ">", "1e3", "3 days"),
    "dose": ("ten", "0", "-2", "nan", "inf", "1,5", "1_0", "0x1"),
    "time_point": ("x", "1.5", "-1", "1_000", "٣", "9" * 30),
    "gsm": ("GSE1", "GSM", "gsm12", "GSM1;GSM2"),
    "sample_id": ("a b", "-a", "a/b", "../a", "a;b"),
    "ln_ic50": ("low", "nan", "1..2", "--1"),
    "n_lines_tested": ("many", "0", "2.5"),
}
WORDS = (
    *("cell_line", "cancer_type", "source_type", "assay", "collection", "arm", "treatment"),
    *("lesion", "outcome", "control_outcome", "proliferation", "intrinsic_resistance"),
)
REFERENCES = {
    "control_samples": ("no-such-sample", "no-such-sample;other"),
    "fact_sources": ("*=no_such_source", "no_such_fact=paper"),
}
YAML_TYPES = {
    "revision": ("one", "0", "-1", "1.5", "1e3", "٣"),
    "year": ("20x1", "1800", "2021-01-01", "99999"),
    "pmid": ("PMID:12", "12a", "1" * 12),
    "doi": ("https://doi.org/10.1/x", "10.x/1", "doi"),
    "licence_url": ("example.org", "file:///etc/passwd", "https://", "http://u:p@example.org"),
    "synthetic": ("maybe", "2"),
}
YAML_WORDS = ("organism", "access", "status")
TRICKS = (
    "title: &anchor x",
    "title: *anchor",
    "title: !!python/object/apply:os.system [ls]",
    "title: !!binary aGk=",
    "curator: tests\ncurator: tests",
    "<<: {title: x}",
    "? [a, b]\n: c",
    "title: " + "[" * 40 + "]" * 40,
    "title: {a: {b: c}}",
    'title: "\\UFFFFFFFF"',
    'title: "\\0"',
    "title: \tx\n\tlicence: y",
    "title: 'never ends",
    "title: a: b",
    "%YAML 9.9",
    "--- \n--- \ntitle: another document",
    "licence: yes: no",
    "files: no",
    "sources: []",
)


def _table(folder: Path, chance: random.Random, column: str) -> tuple[Path, list[list[str]]] | None:
    """A table of the study that may hold the column, with a row to spoil."""
    fitting = [
        folder / name
        for name, model in EVIDENCE_TABLES.items()
        if name.endswith(".csv") and column in model.to_schema().columns
    ]
    for path in chance.sample(fitting, len(fitting)):
        if path.exists() and len(rows := list(csv.reader(path.read_text().splitlines()))) > 1:
            return path, rows
    return None


def _set(folder: Path, chance: random.Random, column: str, value: str) -> Spoiled | None:
    """Put a value into one field; a column that the table leaves out is added."""
    found = _table(folder, chance, column)
    if found is None:
        return None
    path, rows = found
    if column not in rows[0]:
        rows = [[*row, column if i == 0 else ""] for i, row in enumerate(rows)]
    at = chance.randrange(1, len(rows))
    rows[at][rows[0].index(column)] = value
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    path.write_text(stream.getvalue())
    return Spoiled(path.name, at + 1, column, value)


def _set_key(folder: Path, chance: random.Random, key: str, value: str) -> Spoiled:
    """Put a value behind a top-level key of `study.yaml`."""
    path = folder / "study.yaml"
    lines = path.read_text().splitlines()
    at = next((i for i, line in enumerate(lines) if line.startswith(f"{key}:")), None)
    if at is None:
        lines, at = [*lines, ""], len(lines)
    else:
        end = at + 1
        while end < len(lines) and lines[end].startswith(" "):
            end += 1
        lines[at:end] = [""]
    lines[at] = f"{key}: {value}"
    path.write_text("\n".join(lines) + "\n")
    return Spoiled("study.yaml", at + 1, key, value)


def types(folder: Path, chance: random.Random) -> Spoiled | None:
    if chance.random() < 0.4:
        key = chance.choice(list(YAML_TYPES))
        return _set_key(folder, chance, key, chance.choice(YAML_TYPES[key]))
    column = chance.choice(list(TYPES))
    return _set(folder, chance, column, chance.choice(TYPES[column]))


def units(folder: Path, chance: random.Random) -> Spoiled | None:
    """A unit that there is not; or a dose without a unit, or a unit without a dose."""
    value = chance.choice(("uMM", "mol", "percent", "M", "µ", ""))
    if value:
        return _set(folder, chance, "dose_unit", value)
    made = _set(folder, chance, *chance.choice((("dose", "2"), ("dose_unit", "nM"))))
    if made is None or _typed(folder, made, "dose") == _typed(folder, made, "dose_unit"):
        return None
    return Spoiled(made.file, made.row, "dose_unit")


def _typed(folder: Path, place: Spoiled, column: str) -> bool:
    rows = list(csv.reader((folder / place.file).read_text().splitlines()))
    return column in rows[0] and bool(rows[(place.row or 1) - 1][rows[0].index(column)])


def vocabularies(folder: Path, chance: random.Random) -> Spoiled | None:
    if chance.random() < 0.3:
        key = chance.choice(YAML_WORDS)
        return _set_key(folder, chance, key, chance.choice(NOT_A_WORD))
    if chance.random() < 0.3:
        return _nested(folder, chance, "reader", chance.choice(NOT_A_WORD))
    return _set(folder, chance, chance.choice(WORDS), chance.choice(NOT_A_WORD))


def _nested(folder: Path, chance: random.Random, key: str, value: str) -> Spoiled | None:
    """Put a value behind a key of one of the files."""
    path = folder / "study.yaml"
    lines = path.read_text().splitlines()
    found = [i for i, line in enumerate(lines) if re.match(rf"\s+{key}: ", line)]
    if not found:
        return None
    at = chance.choice(found)
    lines[at] = lines[at].split(":")[0] + f": {value}"
    path.write_text("\n".join(lines) + "\n")
    return Spoiled("study.yaml", at + 1, key, value)


def references(folder: Path, chance: random.Random) -> Spoiled | None:
    """A sample, source, fact or file that the study does not have."""
    manifest = (folder / "study.yaml").read_text()
    if "status: ready" in manifest and chance.random() < 0.3:
        return _set(folder, chance, "file", "no-such-file.csv")
    if (folder / "dose_response.csv").exists() and chance.random() < 0.3:
        return _set(folder, chance, "source", "no_such_source")
    if "    rule: table" in manifest and chance.random() < 0.3:
        made = _nested(folder, chance, "table", "no-such-table.csv")
        return made and Spoiled(made.file)
    column = chance.choice(list(REFERENCES))
    value = chance.choice(REFERENCES[column])
    made = _set(folder, chance, column, value)
    return made and Spoiled(made.file, made.row, made.column)


def encodings(folder: Path, chance: random.Random) -> Spoiled | None:
    """Bytes that are no UTF-8, or characters that nobody can see."""
    path = chance.choice([p for p in sorted(folder.iterdir()) if p.suffix in (".csv", ".yaml")])
    data = path.read_bytes()
    if chance.random() < 0.2:
        path.write_bytes(data.decode().encode(chance.choice(["utf-16", "utf-32"])))
        return Spoiled(path.name)
    lines = data.split(b"\n")
    at = chance.randrange(len(lines) - 1)
    lines[at] += chance.choice([b"\xff", "é".encode("latin-1"), b"\xc3", b"\xed\xa0\x80"])
    path.write_bytes(b"\n".join(lines))
    return Spoiled(path.name, at + 1)


def yaml_tricks(folder: Path, chance: random.Random) -> Spoiled | None:
    path = folder / "study.yaml"
    lines, trick = path.read_text().splitlines(), chance.choice(TRICKS)
    key = trick.split(":")[0]
    kept = [line for line in lines if not line.startswith(f"{key}:")]
    starts = [i for i, line in enumerate(kept) if line[:1].isalpha()]
    at = chance.choice([*starts, len(kept)])
    path.write_text("\n".join([*kept[:at], trick, *kept[at:]]) + "\n")
    return Spoiled("study.yaml")


def huge(folder: Path, chance: random.Random) -> Spoiled | None:
    """More than anyone types: of text, of one field, or of rows."""
    kind = chance.choice(["manifest", "field", "rows"])
    if kind == "manifest":
        path = folder / "study.yaml"
        path.write_text(path.read_text() + "# x\n" * (MAX_BYTES // 4))
        return Spoiled(path.name)
    if kind == "field":
        made = _set(folder, chance, "note", "x" * MAX_LINE_BYTES)
        return made and Spoiled(made.file, made.row)
    found = _table(folder, chance, "note")
    if found is None:
        return None
    path, rows = found
    text = path.read_text()
    path.write_text(text + (text.splitlines()[-1] + "\n") * 2000)
    return Spoiled(path.name, len(rows) + 1, "sample_id", rows[-1][rows[0].index("sample_id")])


def empty(folder: Path, chance: random.Random) -> Spoiled | None:
    path = chance.choice([p for p in sorted(folder.iterdir()) if p.suffix in (".csv", ".yaml")])
    path.write_bytes(chance.choice([b"", b"\n\n", b"   \n", b"\xef\xbb\xbf", b"\r\n"]))
    return Spoiled(path.name)


SPOILERS: dict[str, Spoil] = {
    "types": types,
    "units": units,
    "vocabularies": vocabularies,
    "references": references,
    "encodings": encodings,
    "yaml tricks": yaml_tricks,
    "huge files": huge,
    "empty files": empty,
}
"""By the word of what a contributor may get wrong."""
