"""Write to the folder of a study: all of it or nothing, by one rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cellresponse.schema.storage import storage_errors

__all__ = ["make_folder", "replace_file"]


def make_folder(folder: Path, files: Mapping[str, str]) -> None:
    """Write a new folder with its files.

    Parameters
    ----------
    folder
        Where; nothing stands there yet.
    files
        Text by file name.

    Raises
    ------
    StorageError
        The folder cannot be written.
    """
    with storage_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new.", dir=folder.parent) as scratch:
            made = Path(scratch) / folder.name
            made.mkdir()
            for name, text in files.items():
                (made / name).write_text(text, encoding="utf-8", newline="")
            os.rename(made, folder)


def replace_file(path: Path, text: str) -> None:
    """Write a file of a study's folder anew.

    Parameters
    ----------
    path
        The file.
    text
        What it holds from now on.

    Raises
    ------
    StorageError
        The file cannot be written; it is then as it was.
    """
    # Beside the folder: within it, a file of another name is a mistake.
    place = path.parent.parent / f".{path.parent.name}.{path.name}.{os.getpid()}"
    with storage_errors(path.parent):
        try:
            place.write_text(text, encoding="utf-8", newline="")
            shutil.copymode(path, place)
            os.replace(place, path)
        finally:
            place.unlink(missing_ok=True)
