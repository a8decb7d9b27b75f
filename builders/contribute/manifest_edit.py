"""Change values of a YAML text in place, so that comments, order and quotes survive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

__all__ = ["edited", "removed"]

type Place = tuple[str | int, ...]
"""Keys and positions that lead to a value, such as ("files", 0, "sha256")."""


@dataclass(frozen=True)
class _Edit:
    """Put `text` in place of the characters from `start` to `end`."""

    start: int
    end: int
    text: str


def edited(text: str, values: Mapping[Place, str]) -> str:
    r"""Set plain values; a key that is not there yet comes after its mapping's `url`, or last.

    Parameters
    ----------
    text
        A YAML document that has been read without complaint.
    values
        Value by place; each a word that needs no quotes.

    Examples
    --------
    >>> edited("a: 1  # old\nb: {url: x}\n", {("a",): "2", ("b", "c"): "3"})
    'a: 2  # old\nb: {url: x, c: 3}\n'
    """
    if not text.endswith("\n"):
        text += _newline(text)
    root = _root(text)
    return _applied(
        text,
        [_set(text, _node(root, place[:-1]), place[-1], value) for place, value in values.items()],
    )


def removed(text: str, key: str) -> str:
    r"""Take out a key of the outermost mapping with its value; the text itself without it.

    Examples
    --------
    >>> removed("a: 1\nreason: >-\n  long\nb: 2\n", "reason")
    'a: 1\nb: 2\n'
    """
    root = _root(text)
    found = [pair for pair in _pairs(root) if pair[0].value == key]
    edits = [
        _Edit(
            text.rfind("\n", 0, name.start_mark.index) + 1,
            _line_end(text, value.end_mark.index),
            "",
        )
        for name, value in found
    ]
    return _applied(text, edits)


def _root(text: str) -> yaml.Node:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        raise ValueError("an empty document has no values to change")
    return node


def _node(node: yaml.Node, place: Place) -> yaml.Node:
    for step in place:
        if isinstance(step, int):
            node = node.value[step]
        else:
            node = next(value for key, value in _pairs(node) if key.value == step)
    return node


def _pairs(node: yaml.Node) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    yield from node.value


def _set(text: str, mapping: yaml.Node, key: str | int, value: str) -> _Edit:
    for name, old in _pairs(mapping):
        if name.value == key:
            start, end = old.start_mark.index, old.end_mark.index
            return _Edit(start, end, value if start < end else f" {value}")
    pairs = list(_pairs(mapping))
    before, after = next((pair for pair in pairs if pair[0].value == "url"), pairs[-1])
    end = after.end_mark.index
    if isinstance(mapping, yaml.MappingNode) and mapping.flow_style:
        return _Edit(end, end, f", {key}: {value}")
    end = _line_end(text, end)
    line = f"{' ' * before.start_mark.column}{key}: {value}{_newline(text)}"
    return _Edit(end, end, line)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_end(text: str, index: int) -> int:
    """Where the next line begins; the index itself where one begins there."""
    if text[:index].endswith("\n"):
        return index
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def _applied(text: str, edits: list[_Edit]) -> str:
    """Apply from the end on; of several at one place, the first comes first in the text."""
    for _, edit in sorted(
        enumerate(edits), key=lambda item: (item[1].start, item[0]), reverse=True
    ):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text
