"""Find the release that a name stands for: a folder, or a repository on the Hub."""

from __future__ import annotations

import warnings
from pathlib import Path

from cellresponse.releases.layout import INDEX, ROOT
from cellresponse.releases.release import Release
from cellresponse.releases.root import BUILT, read_root
from cellresponse.schema.errors import ReleaseError

__all__ = ["open_local", "repository_of"]

OWN_INDEX = Path(__file__).with_name(INDEX)


def open_local(release: str | Path) -> Release | None:
    """Open a release on this machine; None where a name stands for none here.

    Raises
    ------
    ReleaseError
        A path was given that holds no right release.
    """
    path = Path(release)
    named = [path, BUILT / path]
    alias = _own_alias(str(release))
    if alias is not None:
        named.append(BUILT / alias)
    for folder in named:
        if (folder / ROOT).is_file():
            opened = Release(_absolute(folder), read_root(folder))
            _warn_if_retracted(opened.name)
            return opened
    if isinstance(release, Path) or len(path.parts) > 1 or path.is_dir():
        read_root(path)  # says what is wrong with it
    return None


def _absolute(folder: Path) -> Path:
    """Let a release be found from every folder; what a link is called stays as it is."""
    return folder.resolve() if ".." in folder.parts else folder.absolute()


def _own_alias(name: str) -> str | None:
    """Look an alias up in the package's index, without parsing it where it names none."""
    if f"{name}:" not in OWN_INDEX.read_text("utf-8"):
        return None
    from cellresponse.releases.index import read_index

    return read_index(OWN_INDEX).aliases.get(name)


def _warn_if_retracted(name: str) -> None:
    if f"{name}:" not in OWN_INDEX.read_text("utf-8").replace("'", ""):
        return
    from cellresponse.releases.index import RetractedRelease, read_index

    index = read_index(OWN_INDEX)
    if name in index.retractions:
        warnings.warn(index.warning(name), RetractedRelease, stacklevel=4)


def repository_of(name: str) -> tuple[str, str]:
    """Give what to ask for, and the repository that the package's specs name for it.

    The repository's own index, which is newer, has the last word on an alias.

    Raises
    ------
    ReleaseError
        No spec of that name names a repository.
    """
    from cellresponse.releases.specs import load_spec, spec_names

    release = _own_alias(name) or name
    repo = load_spec(release).repo if release in spec_names() else None
    if repo is None:
        raise ReleaseError(
            "there is no such folder, no such release under dist/, and no spec that says which "
            "repository holds it:",
            value=name,
            hint=f'Name a folder, or a repository: load("{name}", repo="ORG/NAME")',
        )
    return name, repo
