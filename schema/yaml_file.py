"""Read hand-written YAML strictly, and keep the line of every key.

YAML's own typing is switched off: `no`, `1e5` and `2021-01-01` stay the text that
was typed, and the pydantic models decide what they are. Duplicate keys, anchors,
aliases and tags are refused; none of them has a use in a manifest.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from cellresponse.schema.errors import CellResponseError, EvidenceError, raise_all

__all__ = ["Key", "Place", "Strict", "dotted", "key_at", "load_yaml", "read_yaml"]

MAX_BYTES = 1024 * 1024  # PyYAML reads about 1 MB/s; a manifest of a thousand files has 0.5 MB
MAX_DEPTH = 20
# An escape such as "\0" can write what no file name, table or terminal takes.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
NULLS = {"", "~", "null", "Null", "NULL"}

KEYS = "lines of `key: value`"
REFUSALS = {
    "missing": ("the key is missing", "a value for it"),
    "string_type": ("not a text", "a text"),
    "int_parsing": ("not a whole number", "digits such as 12"),
    "int_parsing_size": ("not a whole number", "digits such as 12"),
    "int_type": ("not a whole number", "digits such as 12"),
    "float_parsing": ("not a number", "a number such as 0.5"),
    "float_type": ("not a number", "a number such as 0.5"),
    "bool_parsing": ("neither true nor false", "true, false"),
    "bool_type": ("neither true nor false", "true, false"),
    "list_type": ("not a list", "lines of `- value`"),
    "dict_type": ("not keys with values", KEYS),
    "model_type": ("not keys with values", KEYS),
    "literal_error": ("unknown word", "{expected}"),
    "greater_than": ("too small", "more than {gt}"),
    "greater_than_equal": ("too small", "at least {ge}"),
    "less_than_equal": ("too large", "at most {le}"),
    "too_short": ("too few", "at least {min_length}"),
    "string_pattern_mismatch": ("has the wrong form", "text that fits {pattern}"),
}
"""What is wrong and what is allowed, by pydantic's name for it."""


class Strict(BaseModel):
    """Base of the typed YAML models: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


type Place = tuple[str | int, ...]
"""Keys and positions that lead to a value, such as ("files", 0, "name")."""


@dataclass(frozen=True)
class Key:
    """What a model says of a key.

    Attributes
    ----------
    required
        Whether it must have a value.
    allowed
        What it takes; None: any text.
    """

    required: bool
    allowed: str | list[str] | None


def read_yaml[Model: Strict](path: Path, model: type[Model], *, name: str | None = None) -> Model:
    """Read a YAML file into a typed model.

    Parameters
    ----------
    path
        The file.
    model
        Pydantic model of the whole document.
    name
        Name for messages; None for the path.

    Raises
    ------
    EvidenceError, Problems
        The file cannot be read, is not YAML, or does not fit the model: with the
        line, the dotted key and the value.
    """
    name = name or str(path)
    document, lines = load_yaml(path, name=name)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise_all(_translate(error, model, lines, name))
        raise  # unreachable: a ValidationError has at least one error


def load_yaml(path: Path, *, name: str) -> tuple[object, dict[Place, int]]:
    """Read a YAML file as texts in lists and mappings, with the line of every place.

    Raises
    ------
    EvidenceError
        The file cannot be read, or is not YAML.
    """
    lines: dict[Place, int] = {}
    return _value(_compose(_text(path, name), name), (), lines, name), lines


def key_at(model: type[Strict], place: Place) -> Key | None:
    """Say what a model asks of a place; None where that is no key of it."""
    owner, key = _model_at(model, place[:-1]), place[-1] if place else None
    if not isinstance(key, str) or key not in owner.model_fields:
        return None
    # An empty text fits no closed form, and the refusal says what does.
    try:
        owner.model_validate({key: ""})
    except ValidationError as error:
        said = [_allowed(found) for found in error.errors() if found["loc"] == (key,)]
    else:
        said = []
    return Key(owner.model_fields[key].is_required(), said[0] if said else None)


def dotted(place: Place) -> str:
    """Write a place as messages show it, such as `files.0.name`."""
    return ".".join(map(str, place))


def _text(path: Path, name: str) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise EvidenceError(
                "the file is too large for a manifest", file=name, allowed=f"{MAX_BYTES} bytes"
            )
        data = path.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise EvidenceError(f"cannot be read: {error.strerror}", file=name) from None
    except UnicodeDecodeError as error:
        raise EvidenceError(
            "is not UTF-8 text",
            file=name,
            row=data.count(b"\n", 0, error.start) + 1,
            hint="Save it as UTF-8",
        ) from None


def _compose(text: str, name: str) -> yaml.Node:
    try:
        _refuse_unused(text, name)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", "") or "unreadable"
        raise EvidenceError(
            f"is not YAML: {problem}",
            file=name,
            row=mark.line + 1 if mark else None,
            hint="Check indentation, quotes and colons on this line and the one before",
        ) from None
    except (ValueError, OverflowError):
        # PyYAML converts the number of an escape or a version without a look at its size.
        raise EvidenceError(
            "is not YAML: the number of an escape or of a %YAML line is out of range",
            file=name,
            hint="Type the character itself, and leave %YAML lines out",
        ) from None
    if node is None:
        raise EvidenceError("the file is empty", file=name, allowed=KEYS)
    if not isinstance(node, yaml.MappingNode):
        raise EvidenceError("the file does not begin with a key", file=name, row=1, allowed=KEYS)
    return node


def _refuse_unused(text: str, name: str) -> None:
    """Look at the stream of events, before anything nested or repeated is built from it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        row = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise EvidenceError(
                "anchors and aliases are not used in manifests",
                file=name,
                row=row,
                hint="Write the value out",
            )
        if tag := getattr(event, "tag", None):
            raise EvidenceError(
                "tags are not used in manifests",
                file=name,
                row=row,
                value=tag,
                hint="Remove the tag, or put quotes around the text",
            )
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise EvidenceError(
                "is nested too deeply", file=name, row=row, allowed=f"{MAX_DEPTH} levels"
            )


def _value(node: yaml.Node, place: Place, lines: dict[Place, int], name: str) -> object:
    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        return None if node.style is None and node.value in NULLS else _printable(node, name)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, i), lines, name) for i, item in enumerate(node.value)]
    found: dict[str, object] = {}
    assert isinstance(node, yaml.MappingNode)  # noqa: S101 - the only kind left; for the type checker
    for key, value in node.value:
        row = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise EvidenceError("a key must be plain text", file=name, row=row, allowed=KEYS)
        if _printable(key, name) in found:
            raise EvidenceError(
                "the key stands twice",
                file=name,
                row=row,
                column=".".join(map(str, (*place, key.value))),
                value=key.value,
                hint="Keep one of them",
            )
        found[key.value] = _value(value, (*place, key.value), lines, name)
        lines[(*place, key.value)] = row
    return found


def _printable(node: yaml.ScalarNode, name: str) -> str:
    text = str(node.value)
    if UNPRINTABLE.search(text):
        raise EvidenceError(
            "the text holds a character that cannot be printed",
            file=name,
            row=node.start_mark.line + 1,
            value=text,
            hint="Type what can be seen",
        )
    return text


def _translate(
    error: ValidationError,
    model: type[Strict],
    lines: dict[Place, int],
    name: str,
) -> Iterator[CellResponseError]:
    for found in error.errors(include_url=False):
        context, value = found.get("ctx", {}), found["input"]
        place = (*found["loc"], *context.get("keys", ()))
        missing = found["type"] == "missing"
        key = key_at(model, place) if missing or _is_blank(value) else None
        problem, allowed, hint = _problem(found), _allowed(found), context.get("hint")
        if found["type"] == "extra_forbidden":
            problem, value = "unknown key", place[-1]
            allowed = _nearest_keys(str(value), model, place[:-1])
        elif key and key.required:
            problem = "the key is missing" if missing else "is required"
            value, allowed = None, key.allowed or "a text"
        elif value is None and found["type"] in REFUSALS:
            problem, hint = "is empty", "Fill it in, or remove the line"
            allowed = (key.allowed if key else None) or allowed
        yield EvidenceError(
            problem,
            file=name,
            row=_line(lines, place),
            column=dotted(place) or None,
            value=None if isinstance(value, dict | list) else value,
            allowed=allowed,
            hint=hint,
        )


def _problem(found: Any) -> str:
    """What pydantic found, in words of this package where it has some."""
    if found["type"] in REFUSALS:
        return REFUSALS[found["type"]][0]
    said: str = found["msg"].removeprefix("Value error, ").rstrip(".") or found["type"]
    return said[0].lower() + said[1:]


def _allowed(found: Any) -> str | list[str] | None:
    context = found.get("ctx", {})
    if found["type"] in REFUSALS:
        return REFUSALS[found["type"]][1].format(**context)
    allowed: str | list[str] | None = context.get("allowed")
    return allowed


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _line(lines: dict[Place, int], place: Place) -> int | None:
    """Line of the deepest part of a place that stands in the file."""
    while place:
        if place in lines:
            return lines[place]
        place = place[:-1]
    return lines.get(())


def _nearest_keys(key: str, model: type[Strict], parents: Place) -> list[str]:
    fields = sorted(_model_at(model, parents).model_fields)
    return difflib.get_close_matches(key, fields, n=3, cutoff=0.4) or fields


def _model_at(model: type[Strict], parents: Place) -> type[Strict]:
    """Model that a place leads to."""
    current: type[Strict] = model
    for part in parents:
        if isinstance(part, str) and part in current.model_fields:
            inner = _inner_model(current.model_fields[part].annotation)
            current = inner or current
    return current


def _inner_model(annotation: object) -> type[Strict] | None:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        inner = _inner_model(argument)
        if inner:
            return inner
    return None
