"""Controlled words: drugs, cancer types, cell lines, assays and the short closed lists.

The words live in `schema/vocabularies/*.csv`, one term a row. Tables are read
when they are first asked for, and once. Nothing here imports pandas, so that
`import cellresponse` stays quick.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from types import MappingProxyType
from typing import Unpack

from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.term import Term, Vocabulary, Where

__all__ = [
    "Term",
    "Treatment",
    "Vocabulary",
    "assays",
    "cancer_types",
    "cell_lines",
    "drugs",
    "treatment",
    "treatment_id",
    "words",
]

LIST_SEPARATOR = ";"
# What people write instead of " + ". "or" is left out: alternatives are not one treatment.
OTHER_JOINS = re.compile(r"\s+(?:and|plus|with)\s+|[,;/&]", re.IGNORECASE)


@dataclass(frozen=True)
class Treatment:
    """What was given: one agent, or a regimen of several.

    Parameters
    ----------
    id
        Ids of the components, sorted and joined with "+".
    components
        The agents, sorted by id; at least one.
    """

    id: str
    components: tuple[Term, ...]

    @property
    def name(self) -> str:
        """Names of the components, joined with " + "."""
        return " + ".join(term.name for term in self.components)


@cache
def drugs() -> Vocabulary:
    """Give the drugs: agents, classes of agents, cell therapies and named regimens."""
    return _table("drug", "drugs.csv")


@cache
def cancer_types() -> Vocabulary:
    """Give the cancer types; `extra["parent"]` is the id of the broader type, or ""."""
    return _table("cancer type", "cancer_types.csv")


@cache
def cell_lines() -> Vocabulary:
    """Give the cell lines; `extra["cancer_type"]` is the id of a cancer type, or ""."""
    return _table("cell line", "cell_lines.csv")


@cache
def assays() -> Vocabulary:
    """Give the assays that single-cell counts come from."""
    return _table("assay", "assays.csv")


@cache
def words(vocabulary: str) -> Vocabulary:
    """Give one of the short closed lists.

    Parameters
    ----------
    vocabulary
        Its name, such as "source_type".

    Returns
    -------
    Vocabulary
        Its words.

    Raises
    ------
    ValueError
        There is no such list. That is a mistake of the program, not of a user.
    """
    rows = [row for row in _rows("words.csv") if row["vocabulary"] == vocabulary]
    if not rows:
        raise ValueError(f"schema/vocabularies/words.csv has no vocabulary {vocabulary!r}")
    terms = [_term(row["word"], row, ("vocabulary", "word")) for row in rows]
    return Vocabulary(vocabulary.replace("_", " "), _source("words.csv"), terms)


def treatment(text: str, **where: Unpack[Where]) -> Treatment:
    """Find the treatment that a text stands for.

    A regimen is its components joined with "+", in any order; the name of a
    fixed regimen stands for its components.

    Parameters
    ----------
    text
        A drug, several drugs such as "carfilzomib + dexamethasone", or the id
        of a treatment.
    **where
        `file`, `row` and `column` of the text, for the error.

    Returns
    -------
    Treatment
        The treatment, with one id for every order and spelling.

    Raises
    ------
    EvidenceError
        A component is unknown, ambiguous or named twice.

    Examples
    --------
    >>> treatment("dexamethasone + carfilzomib").id
    'carfilzomib+dexamethasone'
    """
    named = [_component(part, text, where) for part in text.split("+")]
    expanded = [component for term in named for component in _components(term)]
    components = tuple(sorted(expanded, key=lambda term: term.id))
    for first, second in pairwise(components):
        if first is second:
            raise EvidenceError(
                f"{first.id} occurs twice in the treatment",
                value=text,
                hint="Name each drug of a regimen once",
                **where,
            )
    return Treatment("+".join(term.id for term in components), components)


def treatment_id(text: str, **where: Unpack[Where]) -> str:
    """Give the id of the treatment that a text stands for; see `treatment`."""
    return treatment(text, **where).id


def _component(part: str, text: str, where: Where) -> Term:
    try:
        return drugs().resolve(part.strip(), **where)
    except EvidenceError:
        several = _drugs_joined_otherwise(part)
        if not several:
            raise
        raise EvidenceError(
            "a regimen is not written like",
            value=text,
            allowed='drugs with " + " between them',
            hint=f'Write "{" + ".join(several)}"',
            **where,
        ) from None


def _drugs_joined_otherwise(part: str) -> list[str]:
    """Give the names of the drugs in "a and b" or "a/b"; empty where it is no such list."""
    pieces = OTHER_JOINS.split(part)
    if len(pieces) == 1:
        return []
    try:
        return [drugs().resolve(piece.strip()).name for piece in pieces]
    except EvidenceError:
        return []


def _components(term: Term) -> list[Term]:
    ids = _split(term.extra["components"])
    return [drugs()[drug_id] for drug_id in ids] or [term]


def _table(name: str, file: str) -> Vocabulary:
    terms = []
    for row in _rows(file):
        column = next(iter(row))
        terms.append(_term(row[column], row, (column,)))
    return Vocabulary(name, _source(file), terms)


def _term(word: str, row: Mapping[str, str], key_columns: tuple[str, ...]) -> Term:
    known = {*key_columns, "name", "synonyms"}
    extra = {column: value for column, value in row.items() if column not in known}
    return Term(word, row.get("name", word), _split(row["synonyms"]), MappingProxyType(extra))


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(LIST_SEPARATOR) if part.strip())


def _source(file: str) -> str:
    return f"schema/vocabularies/{file}"


@cache
def _rows(file: str) -> list[dict[str, str]]:
    path = resources.files("cellresponse.schema") / "vocabularies" / file
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
