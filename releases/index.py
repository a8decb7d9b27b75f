"""`index.yaml`: which releases are published, what the aliases stand for, what was retracted."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from cellresponse.releases.layout import INDEX
from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.study import Text
from cellresponse.schema.yaml_file import Strict, read_yaml

__all__ = [
    "ReleaseIndex",
    "RetractedRelease",
    "Retraction",
    "index_lines",
    "read_index",
]

HEADER = "# Published releases, what the aliases stand for, and retractions.\n"
ALIAS = re.compile("[a-z][a-z0-9-]*")


class RetractedRelease(UserWarning):
    """The release that was opened should not be used any more."""


class Retraction(Strict):
    """Why a release should not be used any more."""

    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    reason: Text
    replaced_by: str | None = None

    @classmethod
    def today(cls, reason: str, replaced_by: str | None) -> Retraction:
        """Retract with today's date.

        Raises
        ------
        EvidenceError
            The reason is blank.
        """
        reason = " ".join(reason.split())
        if not reason:
            raise EvidenceError(
                "a retraction needs a reason",
                value=reason,
                allowed="a text that is not empty",
                hint="Say why the release should not be used any more",
            )
        date = datetime.now(UTC).date().isoformat()
        return cls(date=date, reason=reason, replaced_by=replaced_by)


class ReleaseIndex(Strict):
    """What is published, in the order of publication, and what the aliases stand for."""

    releases: list[str] = []
    aliases: dict[str, str] = {}
    retractions: dict[str, Retraction] = {}

    def with_release(self, release: str) -> ReleaseIndex:
        """Add a release that was published."""
        if release in self.releases:
            return self
        if release in self.aliases:
            raise EvidenceError("a release cannot have the name of an alias", value=release)
        return self.model_copy(update={"releases": [*self.releases, release]})

    def with_alias(self, alias: str, release: str) -> ReleaseIndex:
        """Let an alias stand for a published release.

        Raises
        ------
        EvidenceError
            The release is not published or was retracted, or the alias is no such name.
        """
        self._require_published(release)
        if not ALIAS.fullmatch(alias) or alias in self.releases:
            raise EvidenceError(
                "this cannot be an alias",
                value=alias,
                allowed="small letters, digits and `-`, and not the name of a release",
            )
        if release in self.retractions:
            raise EvidenceError(
                "an alias cannot stand for a retracted release",
                value=release,
                hint=f"Name another, such as {instead}"
                if (instead := self.replacement(release))
                else "Name a release that was not retracted",
            )
        return self.model_copy(update={"aliases": {**self.aliases, alias: release}})

    def with_retraction(self, release: str, retraction: Retraction) -> ReleaseIndex:
        """Say that a published release should not be used; a later word replaces an earlier one.

        Raises
        ------
        EvidenceError
            The release, or its replacement, is not published, or was retracted itself.
        """
        self._require_published(release)
        instead = retraction.replaced_by
        if instead is not None:
            self._require_published(instead)
            if instead == release or instead in self.retractions:
                raise EvidenceError("the replacement was retracted itself", value=instead)
        return self.model_copy(update={"retractions": {**self.retractions, release: retraction}})

    def replacement(self, release: str) -> str | None:
        """Give what to use instead of a retracted release, and was not retracted itself."""
        passed = {release}
        instead = self.retractions[release].replaced_by
        while instead in self.retractions and instead not in passed:
            passed.add(instead)
            instead = self.retractions[instead].replaced_by
        return None if instead in passed else instead

    def warning(self, release: str) -> str:
        """Give the warning for a reader of a retracted release."""
        retraction = self.retractions[release]
        text = f"release {release} was retracted on {retraction.date}: "
        text += f"{retraction.reason.rstrip('.')}."
        instead = self.replacement(release)
        return f"{text} Use {instead} instead." if instead else text

    def _require_published(self, release: str) -> None:
        if release not in self.releases:
            raise EvidenceError(
                "the index lists no such release",
                file=INDEX,
                value=release,
                allowed=self.releases or "none is published",
                hint="Push it first (python cli.py push) and name its repository (--repo ORG/NAME)",
            )

    def text(self) -> str:
        """Write the index as YAML."""
        return HEADER + yaml.safe_dump(
            self.model_dump(exclude_none=True), sort_keys=False, allow_unicode=True, width=100
        )

    def write(self, path: Path) -> None:
        """Replace an index file in one step."""
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(self.text(), encoding="utf-8")
        os.replace(beside, path)


def read_index(path: Path, *, name: str | None = None) -> ReleaseIndex:
    """Read an index file.

    Raises
    ------
    EvidenceError, Problems
        It is not such a file.
    """
    return read_yaml(path, ReleaseIndex, name=name)


def index_lines(index: ReleaseIndex) -> list[str]:
    """Write an index for people: one line a release."""
    lines = []
    for release in index.releases:
        names = [alias for alias, named in sorted(index.aliases.items()) if named == release]
        line = release + (f"  ({', '.join(names)})" if names else "")
        if release in index.retractions:
            line += f"  RETRACTED: {index.warning(release)}"
        lines.append(line)
    return lines or ["no release is published"]
