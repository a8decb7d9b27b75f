"""Find and read release specs."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from cellresponse.releases.layout import INDEX
from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.spec import ReleaseSpec
from cellresponse.schema.yaml_file import read_yaml

__all__ = ["load_spec", "spec_names"]


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
    return spec.read_from(path.parent, _shown(path))


def _shown(path: Path) -> str:
    return f"releases/{path.name}" if path.parent == specs_folder() else str(path)
