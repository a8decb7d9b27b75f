"""Archives of source files: only what was asked for comes out, and only to its place.

Every member of the list is checked before the first byte is written, wanted or
not: an archive with one unsafe name is not an archive to take data from.
"""

from __future__ import annotations

import difflib
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from cellresponse.schema.errors import SourceFileError, StorageError

__all__ = ["MAX_UNPACKED_BYTES", "unpack"]

# Ten times the largest series archive we know of; a bomb announces far more.
MAX_UNPACKED_BYTES = 1024**4
_COPY_BYTES = 4 * 1024 * 1024
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # with members, without


@dataclass(frozen=True)
class _Member:
    """One entry of an archive: its name, size in bytes, and what it is."""

    name: str
    size: int
    is_file: bool
    is_folder: bool
    handle: tarfile.TarInfo | zipfile.ZipInfo


def unpack(
    archive: Path,
    members: Sequence[str],
    to: Path,
    *,
    name: str,
    limit: int = MAX_UNPACKED_BYTES,
) -> dict[str, Path]:
    """Take files out of a tar (plain, gzip, bzip2, xz) or zip archive.

    Parameters
    ----------
    archive
        The local archive; its kind is told by its content.
    members
        Names of the wanted members, as the archive lists them.
    to
        Folder to write to; made where it is missing.
    name
        The archive's name in the manifest, for messages.
    limit
        Most bytes that all members together may have unpacked.

    Returns
    -------
    Local file of each wanted member, by name. Either all are there or none:
    each is written under a temporary name and renamed when all are complete.

    Raises
    ------
    SourceFileError
        Damaged or truncated archive; a wanted member that is not there (with
        the nearest names); any member that is absolute, leaves the folder, is a
        link or a device, or shares its name with another; more bytes than
        `limit`.
    StorageError
        A file cannot be written.
    """
    with _readable(name), _opened(archive, name) as opened:
        listed = _checked(_listing(opened), name, limit)
        wanted = {member: _found(member, listed, name) for member in members}
        return _written(opened, wanted, to, name)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn whatever a damaged archive raises into one error."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceFileError("the archive is missing", file=name) from error
    except EOFError as error:
        raise SourceFileError(
            "the archive is truncated", file=name, hint="Download it again"
        ) from error
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        OSError,
        NotImplementedError,  # zip: a compression that Python lacks
        RuntimeError,  # zip: an encrypted member
    ) as error:
        raise SourceFileError(
            f"the archive is truncated, damaged or of an unknown kind ({error})",
            file=name,
            hint="Download it again",
        ) from error


def _opened(archive: Path, name: str) -> tarfile.TarFile | zipfile.ZipFile:
    # By its start: a plain tar whose last member is a zip ends like a zip.
    with archive.open("rb") as stream:
        is_zip = stream.read(4) in _ZIP_STARTS
    if is_zip:
        return zipfile.ZipFile(archive)
    try:
        return tarfile.open(archive)
    except tarfile.ReadError as error:
        raise SourceFileError(
            "the file is no tar or zip archive, or its start is damaged",
            file=name,
            hint="Download it again, and check the manifest",
        ) from error


def _listing(opened: tarfile.TarFile | zipfile.ZipFile) -> Iterator[_Member]:
    if isinstance(opened, tarfile.TarFile):
        for entry in opened:
            yield _Member(entry.name, entry.size, entry.isreg(), entry.isdir(), entry)
        # The end mark lies before the checksum of a compressed archive: read on to it.
        while opened.fileobj is not None and opened.fileobj.read(_COPY_BYTES):
            pass
        return
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        is_file = not info.is_dir() and kind in (0, stat.S_IFREG)
        yield _Member(info.filename, info.file_size, is_file, info.is_dir(), info)


def _checked(listing: Iterator[_Member], name: str, limit: int) -> dict[str, _Member]:
    """Give the files of an archive by safe relative name, or refuse it."""
    files: dict[str, _Member] = {}
    total = 0
    for member in listing:
        place = _safe_name(member, name)
        if member.is_folder:
            continue
        if place in files:
            raise SourceFileError("two members have the same name", file=name, value=member.name)
        files[place] = member
        total += member.size
        if total > limit:
            raise SourceFileError(
                f"the archive unpacks to more than {limit} bytes", file=name, value=member.name
            )
    return files


def _safe_name(member: _Member, name: str) -> str:
    path = PurePosixPath(member.name)
    drive = member.name[1:2] == ":"
    if path.is_absolute() or drive or "\\" in member.name or "\0" in member.name:
        problem = "the archive has a member with an absolute or unportable name"
    elif ".." in path.parts:
        problem = "the archive has a member that leaves its folder"
    elif not (member.is_file or member.is_folder):
        problem = "the archive has a member that is a link or a device"
    elif member.is_file and not path.parts:
        problem = "the archive has a member without a name"
    else:
        return str(path)
    raise SourceFileError(
        problem,
        file=name,
        value=member.name,
        allowed="plain files under relative names",
        hint="Nothing was unpacked; do not use this archive",
    )


def _found(member: str, listed: dict[str, _Member], name: str) -> _Member:
    found = listed.get(str(PurePosixPath(member)))
    if found is not None:
        return found
    near = difflib.get_close_matches(member, listed, n=3, cutoff=0.5)
    raise SourceFileError(
        "the archive has no such member",
        file=name,
        value=member,
        hint=f"The nearest are {', '.join(near)}" if near else f"It has {len(listed)} others",
    )


def _written(
    opened: tarfile.TarFile | zipfile.ZipFile, wanted: dict[str, _Member], to: Path, name: str
) -> dict[str, Path]:
    places = {member: to / PurePosixPath(found.name) for member, found in wanted.items()}
    parts = {member: place.with_name(f".{place.name}.part") for member, place in places.items()}
    try:
        for member, found in wanted.items():
            _copy(_content(opened, found, name), parts[member], found.size, name)
        with _writable(to):
            for member, place in places.items():
                parts[member].replace(place)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return places


def _content(opened: tarfile.TarFile | zipfile.ZipFile, member: _Member, name: str) -> IO[bytes]:
    if isinstance(opened, zipfile.ZipFile) and isinstance(member.handle, zipfile.ZipInfo):
        return opened.open(member.handle)
    if isinstance(opened, tarfile.TarFile) and isinstance(member.handle, tarfile.TarInfo):
        stream = opened.extractfile(member.handle)
        if stream is not None:
            return stream
    raise SourceFileError("the member is no plain file", file=name, value=member.name)


def _copy(content: IO[bytes], part: Path, size: int, name: str) -> None:
    """Copy a member; reading errors are the archive's, writing errors the disk's."""
    copied = 0
    with content:
        with _writable(part):
            part.parent.mkdir(parents=True, exist_ok=True)
            out = part.open("wb")
        with out:
            while chunk := content.read(_COPY_BYTES):
                with _writable(part):
                    out.write(chunk)
                copied += len(chunk)
    if copied != size:
        raise SourceFileError(
            f"a member ends after {copied} of its {size} bytes",
            file=name,
            value=part.name[1 : -len(".part")],
            hint="The archive is truncated; download it again",
        )


@contextmanager
def _writable(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the file cannot be written ({error.strerror or error})", file=place
        ) from error
