"""Refuse to build over a release that stands already, and say in what they differ."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cellresponse.releases.content_diff import content_differences, known_differences
from cellresponse.releases.root import read_root
from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.spec import ReleaseSpec

__all__ = ["refuse_known_other", "require_same_content"]

MOST_SHOWN = 10


def refuse_known_other(final: Path, spec: ReleaseSpec) -> None:
    """Refuse before the build what is known to differ from what stands there.

    What passes may still differ: `require_same_content` sees it when the release is built.

    Parameters
    ----------
    final
        What stands at the place of the release.
    spec
        What would be built.

    Raises
    ------
    ReleaseError
        No build of the spec can have the content of what stands there.
    """
    differences = list(known_differences(_root(final), spec))
    if differences:
        raise _stands_already(final, differences)


def require_same_content(final: Path, built: Path) -> None:
    """Refuse a release that was built where one with other content stands.

    Parameters
    ----------
    final
        What stands at the place of the release.
    built
        The release that was built.

    Raises
    ------
    ReleaseError
        Their contents differ: in which parts.
    """
    old, new = _root(final), read_root(built)
    if old["content"]["hash"] == new["content"]["hash"]:
        return
    differences = list(content_differences(old["content"], new["content"]))
    if old["code"]["source_sha256"] != new["code"]["source_sha256"]:
        differences.append(f"it was built by other code, version {old['code']['version']}")
    raise _stands_already(
        final, differences, "; the studies that were built are kept in the cache for the next build"
    )


def _root(final: Path) -> dict[str, Any]:
    try:
        return read_root(final)
    except ReleaseError as error:
        raise _stands_already(final, [f"no release can be read there ({error.problem})"]) from None


def _stands_already(final: Path, differences: Iterable[str], kept: str = "") -> ReleaseError:
    shown = list(differences)
    if len(shown) > MOST_SHOWN:
        shown[MOST_SHOWN:] = [f"and {len(shown) - MOST_SHOWN} more differences"]
    return ReleaseError(
        "stands already with other content, and a release is never overwritten: "
        + "; ".join(shown),
        file=final,
        hint=f"Give another --out, or remove it{kept}",
    )
