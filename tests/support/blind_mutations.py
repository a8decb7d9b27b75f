"""Changes to the text of a file that know nothing of what it means."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["ENCODINGS", "MUTATIONS", "Mutation"]

WORDS = [
    *[
        "",
        " ",
        "~",
        "no",
        "0",
        "-1",
        "1e400",
        "nan",
        "2021-01-01",
        "9" * 30,
        "x" * 5000,
        "[]",
        "{}",
    ],
    *[
        "[[a]]",
        "{a: b}",
        "&a b",
        "*a",
        "!!int 1",
        "- a",
        "a: b",
        '"',
        "'",
        '"\\0"',
        '"\\UFFFFFFFF"',
    ],
    *["../x", "/etc/passwd", "file:///x", "http://[", "(", "(?P<key>", "a+b", "erlotinib + ", "+"],
    *["=", "*=", "a=b=c", ";", "\x00", "\ufeff", "\u2028", "\r", "é", "\U0001f600", "\t", "GSE1:2"],
    *[
        "ready",
        "archive",
        "cells",
        "table",
        "pattern",
        "whole_file",
        "resistant",
        "treated",
        ">183",
    ],
]

type Mutation = Callable[[list[str], random.Random], None]


def drop_line(lines: list[str], chance: random.Random) -> None:
    del lines[chance.randrange(len(lines))]


def repeat_line(lines: list[str], chance: random.Random) -> None:
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))


def swap_lines(lines: list[str], chance: random.Random) -> None:
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]


def indent_line(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    lines[at] = chance.choice(["  ", "\t", "- "]) + lines[at]


def dedent_line(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    lines[at] = lines[at].lstrip(" -")


def alter_part(lines: list[str], chance: random.Random) -> None:
    """Put a word for one value, key or field of a line."""
    at = chance.randrange(len(lines))
    separator = ": " if ": " in lines[at] else ","
    parts = lines[at].split(separator)
    parts[chance.randrange(len(parts))] = chance.choice(WORDS)
    lines[at] = separator.join(parts)


def alter_character(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    if lines[at]:
        place = chance.randrange(len(lines[at]))
        character = chance.choice([*"aZ0,:;=-'\"[{&*!|#>%@ \n", "\x00", "\x85", "\u00e9"])
        lines[at] = lines[at][:place] + character + lines[at][place + 1 :]


def drop_column(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(lines[0].count(",") + 1)
    for number, line in enumerate(lines):
        fields = line.split(",")
        lines[number] = ",".join(fields[:at] + fields[at + 1 :])


def cut(lines: list[str], chance: random.Random) -> None:
    del lines[chance.randrange(1, len(lines) + 1) :]


MUTATIONS: list[Mutation] = [
    drop_line,
    repeat_line,
    swap_lines,
    indent_line,
    dedent_line,
    alter_part,
    alter_part,
    alter_part,
    alter_character,
    drop_column,
    cut,
]
ENCODINGS = ["utf-8"] * 8 + ["utf-8-sig", "latin-1", "utf-16"]
