"""Text files, plain or compressed, as streams of whole lines.

The compression is told by the first bytes, never by the file's name: archives
of public repositories hold plain text called `.gz` and the other way round.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from cellresponse.schema.errors import EvidenceError, SourceFileError

__all__ = [
    "BLOCK_BYTES",
    "DELIMITERS",
    "DelimiterName",
    "decoded",
    "delimiter_of",
    "is_blank",
    "leading_field",
    "line_blocks",
    "opened_text",
    "split_line",
    "stray_return",
]

# Small enough for a processor's cache, large enough for tables of thousands of columns.
BLOCK_BYTES = 8 * 1024 * 1024

DelimiterName = Literal["comma", "tab", "semicolon", "space"]
DELIMITERS: dict[str, str] = {"comma": ",", "tab": "\t", "semicolon": ";", "space": " "}
_BY_EXTENSION = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".tab": "\t"}
_COMPRESSIONS = (".gz", ".bz2", ".xz")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK = re.compile(rb"[\r\n]*")
_STRAY_RETURN = re.compile(rb"\r[^\r\n]")

_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


@contextmanager
def opened_text(path: Path, *, name: str) -> Iterator[BinaryIO]:
    """Open a text file for reading bytes, decompressing gzip, bzip2 and xz.

    Parameters
    ----------
    path
        The local file.
    name
        Its name in the manifest, for messages.

    Raises
    ------
    SourceFileError
        Missing or unreadable file; truncated or damaged compressed data, also
        where it is met later, inside the `with` block.
    """
    try:
        with path.open("rb") as plain:
            start = plain.read(6)
        opener = next((o for magic, o in _OPENERS.items() if start.startswith(magic)), None)
        with opener(path) if opener else path.open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise SourceFileError("the file is missing", file=name) from error
    except EOFError as error:
        raise SourceFileError(
            "the compressed file is truncated: it ends before its end mark",
            file=name,
            hint="Download it again",
        ) from error
    except (OSError, zlib.error, lzma.LZMAError) as error:
        raise SourceFileError(
            f"the file cannot be read ({error})", file=name, hint="Download it again"
        ) from error


def line_blocks(stream: BinaryIO, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the rest of a stream in blocks of whole lines.

    A block has about `size` bytes, or one line where that is longer. The last
    line may lack its line end.
    """
    rest = b""
    while block := stream.read(size):
        end = block.rfind(b"\n") + 1
        if end:
            yield rest + block[:end]
            rest = block[end:]
        else:
            rest += block
    if rest:
        yield rest


def is_blank(line: bytes) -> bool:
    """Whether a line holds nothing but its end."""
    return _BLANK.fullmatch(line) is not None


def stray_return(text: bytes) -> bool:
    """Whether a carriage return stands in the middle of a line."""
    return b"\r" in text and _STRAY_RETURN.search(text) is not None


def decoded(text: bytes, *, name: str, row: int) -> str:
    """Decode one line without its end; a byte order mark is dropped.

    Raises
    ------
    SourceFileError
        The bytes are no UTF-8 text.
    """
    try:
        return text.removeprefix(_BYTE_ORDER_MARK).decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SourceFileError(
            "the line is not UTF-8 text",
            file=name,
            row=row,
            hint="Check that the manifest names the right reader for this file",
        ) from error


def split_line(text: bytes, delimiter: str, *, name: str, row: int) -> list[str]:
    """Split one line into its fields, quotes removed.

    Raises
    ------
    SourceFileError
        The bytes are no text, or hold a line break inside quotes.
    """
    line = decoded(text, name=name, row=row)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise SourceFileError(
            f"the line cannot be split ({str(error).partition(' - ')[0]})",
            file=name,
            row=row,
            hint="A line ends with a line feed, and no line break stands inside quotes",
        ) from error


def leading_field(delimiter: str, position: int) -> re.Pattern[bytes]:
    """Build a pattern whose group 1 (quoted) or 2 (bare) is field `position` of a line.

    Splitting a line of thousands of numbers only to have its name costs more
    than parsing the numbers.
    """
    mark = re.escape(delimiter)
    skipped = rf'(?:(?:"(?:[^"]|"")*"|[^{mark}\n]*){mark}){{{position}}}'
    wanted = rf'(?:"((?:[^"]|"")*)"|((?!")[^{mark}\r\n]*))(?={mark}|[\r\n]*\Z)'
    return re.compile((skipped + wanted).encode())


def delimiter_of(name: str, delimiter: str | None) -> str:
    r"""Give the delimiter character: as named, or by the file's extension.

    Parameters
    ----------
    name
        The file's name; `.csv` means comma, `.tsv`, `.txt` and `.tab` mean tab.
    delimiter
        A word of `DELIMITERS`, the character itself, or None.

    Raises
    ------
    EvidenceError
        An unknown word, or an extension that says nothing.

    Examples
    --------
    >>> delimiter_of("counts.csv.gz", None)
    ','
    >>> delimiter_of("counts.csv.gz", "tab") == "\t"
    True
    """
    if delimiter is None:
        suffixes = [s.lower() for s in PurePosixPath(name).suffixes]
        plain = [s for s in suffixes if s not in _COMPRESSIONS]
        if plain and plain[-1] in _BY_EXTENSION:
            return _BY_EXTENSION[plain[-1]]
        raise EvidenceError(
            "the extension does not tell the delimiter",
            file=name,
            column="options.delimiter",
            allowed=list(DELIMITERS),
            hint="Name the delimiter in the file's options",
        )
    if delimiter in DELIMITERS.values():
        return delimiter
    if delimiter not in DELIMITERS:
        raise EvidenceError(
            "unknown delimiter",
            file=name,
            column="options.delimiter",
            value=delimiter,
            allowed=list(DELIMITERS),
        )
    return DELIMITERS[delimiter]
