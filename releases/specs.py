"""Find and read release specs and the index of releases."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.spec import ReleaseSpec
from cellresponse.schema.study import Text
from cellresponse.schema.yaml_file import Strict, read_yaml

__all__ = ["ReleaseIndex", "Retraction", "load_index", "load_spec", "spec_names"]

INDEX = "index.yaml"


class Retraction(Strict):
    """Why a release should not be used any more."""

    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    reason: Text
    replaced_by: str | None = None


class ReleaseIndex(Strict):
    """`releases/index.yaml`: published releases, aliases, retractions."""

    releases: list[str] = []
    aliases: dict[str, str] = {}
    retractions: dict[str, Retraction] = {}


def specs_folder() -> Path:
    """Give the folder of the package that holds specs and index."""
    return Path(str(resources.files("cellresponse.releases")))


def spec_names(folder: Path | None = None) -> list[str]:
    """Name the releases that have a spec."""
    found = (folder or specs_folder()).glob("*.yaml")
    return sorted(path.stem for path in found if path.name != INDEX)


def load_spec(release: str, folder: Path | None = None) -> ReleaseSpec:
    """Read the spec of a release.

    Parameters
    ----------
    release
        Name such as `2025-06`, or the path of a YAML file.
    folder
        Folder of specs; None: the package's own.

    Raises
    ------
    EvidenceError
        There is no such spec, or it says what cannot be.
    """
    path = Path(release)
    if path.suffix not in (".yaml", ".yml"):
        path = (folder or specs_folder()) / f"{release}.yaml"
        if not path.is_file():
            raise EvidenceError(
                "there is no release spec",
                value=release,
                allowed=spec_names(folder),
                hint="Give one of these names, or the path of a spec file",
            )
    spec = read_yaml(path, ReleaseSpec, name=_shown(path))
    if spec.release != path.stem:
        raise EvidenceError(
            "the release is not named like its file",
            file=_shown(path),
            column="release",
            value=spec.release,
            allowed=path.stem,
        )
    return spec


def load_index(folder: Path | None = None) -> ReleaseIndex:
    """Read `index.yaml`."""
    path = (folder or specs_folder()) / INDEX
    return read_yaml(path, ReleaseIndex, name=_shown(path))


def _shown(path: Path) -> str:
    return f"releases/{path.name}" if path.parent == specs_folder() else str(path)
