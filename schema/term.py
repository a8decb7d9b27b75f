"""A controlled word, and a set of them that finds each by any of its spellings.

`cellresponse.schema.vocabulary` holds the vocabularies themselves.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from cellresponse.schema.errors import EvidenceError, UnknownWord

__all__ = ["Term", "Vocabulary", "Where", "spelling_key"]

SHORT_LIST = 13  # up to here an error lists every word, not just the nearest ones


class Where(TypedDict, total=False):
    """Place of a word in a study, shown in an error about it."""

    file: str | Path | None
    row: int | None
    column: str | None


@dataclass(frozen=True)
class Term:
    """One word of a vocabulary.

    Parameters
    ----------
    id
        The word as tables of a release hold it.
    name
        The word as people read it.
    synonyms
        Other spellings that stand for the same thing.
    extra
        The other columns of the table, such as `drug_class`; "" where a fact
        is not known.
    """

    id: str
    name: str
    synonyms: tuple[str, ...]
    extra: Mapping[str, str]

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every text that stands for this term."""
        return (self.id, self.name, *self.synonyms)


class Vocabulary:
    """The terms of one controlled vocabulary, found by any of their spellings.

    Parameters
    ----------
    name
        What one word is called in an error, such as "drug".
    source
        The table that holds the words, as a contributor finds it in a checkout.
    terms
        The terms, in the order of the table.

    Examples
    --------
    >>> line = Term("PC9", "PC9", ("PC-9",), {})
    >>> Vocabulary("cell line", "cell_lines.csv", [line]).resolve("pc 9").id
    'PC9'
    """

    def __init__(self, name: str, source: str, terms: Iterable[Term]) -> None:
        self.name = name
        self.source = source
        self._terms = {term.id: term for term in terms}
        self._by_key: dict[str, list[Term]] = {}
        for term in self._terms.values():
            for key in dict.fromkeys(map(spelling_key, term.spellings)):
                self._by_key.setdefault(key, []).append(term)

    @property
    def words(self) -> list[str]:
        """Ids of all terms, in the order of the table."""
        return list(self._terms)

    @property
    def shared_spellings(self) -> dict[str, list[str]]:
        """Spellings, as `spelling_key` gives them, that several terms claim, with their ids."""
        return {
            key: [term.id for term in found]
            for key, found in self._by_key.items()
            if len(found) > 1
        }

    def __iter__(self) -> Iterator[Term]:
        return iter(self._terms.values())

    def __len__(self) -> int:
        return len(self._terms)

    def __contains__(self, word: object) -> bool:
        """Say whether `word` is the id of a term; synonyms do not count."""
        return word in self._terms

    def __getitem__(self, word: str) -> Term:
        """Give the term of an id; KeyError where there is none."""
        return self._terms[word]

    def resolve(self, text: str, **where: Unpack[Where]) -> Term:
        """Find the term that a text stands for.

        Case, spaces and punctuation do not matter: "PLX4720", "PLX-4720" and
        "plx 4720" are one spelling.

        Parameters
        ----------
        text
            An id, a name or a synonym.
        **where
            `file`, `row` and `column` of the text, for the error.

        Returns
        -------
        Term
            The one term with that spelling.

        Raises
        ------
        UnknownWord
            No term has that spelling.
        EvidenceError
            Several terms have it.
        """
        if text in self._terms:
            return self._terms[text]
        found = self._by_key.get(spelling_key(text), [])
        if len(found) == 1:
            return found[0]
        if found:
            raise EvidenceError(
                f"ambiguous {self.name}",
                value=text,
                allowed=[term.id for term in found],
                hint="Write the one that is meant",
                **where,
            )
        suggestions = self._suggestions(text)
        whole = len(suggestions) == len(self)
        raise UnknownWord(
            f"unknown {self.name}" if text.strip() else f"empty {self.name}",
            value=text,
            allowed=suggestions or f"a word of {self.source}",
            hint=f"All words are in {self.source}" if suggestions and not whole else None,
            **where,
        )

    def _suggestions(self, text: str) -> list[str]:
        nearest = self.nearest(text)
        if len(self) > SHORT_LIST:
            return nearest
        return [*nearest, *(word for word in self._terms if word not in nearest)]

    def nearest(self, text: str, count: int = 3) -> list[str]:
        """Give the ids whose spellings look most like a text, best first.

        Parameters
        ----------
        text
            Any text.
        count
            At most so many ids.

        Returns
        -------
        list of str
            Empty where nothing looks alike.
        """
        # One term has several spellings: ask for more keys than ids are wanted.
        keys = difflib.get_close_matches(spelling_key(text), self._by_key, n=4 * count)
        found = [term.id for key in keys for term in self._by_key[key]]
        return list(dict.fromkeys(found))[:count]


def spelling_key(text: str) -> str:
    """Reduce a text to what two spellings of one word share.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    str
        Letters and digits in lower case, with compatibility forms unified.

    Examples
    --------
    >>> spelling_key("5-Fluorouracil") == spelling_key("5 fluorouracil")
    True
    """
    # NFKC first: it makes the micro sign a Greek mu and a superscript two a 2.
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum())
