"""What is wanted of a release."""

from __future__ import annotations

from dataclasses import dataclass

from cellresponse.releases.release import Release
from cellresponse.schema.errors import ReleaseError

__all__ = ["WHOLE", "Part"]


@dataclass(frozen=True)
class Part:
    """What is wanted of a release; nothing said: all of it.

    Attributes
    ----------
    study
        Studies by id, with their matrices.
    drug, response
        The studies that have labels of this treatment, with this response.
    tables_only
        No matrix; what else is said is checked all the same.
    """

    study: tuple[str, ...] = ()
    drug: str | None = None
    response: str | None = None
    tables_only: bool = False

    @property
    def everything(self) -> bool:
        """Whether the whole release is wanted."""
        return self == WHOLE

    def studies(self, release: Release) -> set[str]:
        """Name the studies that are wanted, by the tables of the release.

        Raises
        ------
        ReleaseError
            The release has no such study, drug or response: with those that it has.
        """
        known = release.tables["studies"]["study_id"].to_pylist()
        for study in self.study:
            if study not in known:
                raise ReleaseError(
                    f"the release {release.name} has no such study", value=study, allowed=known
                )
        if self.drug is None and self.response is None:
            return set() if self.tables_only else set(self.study)
        labelled = set(release.labels(drug=self.drug, response=self.response)["study_id"])
        found = labelled & set(self.study or known)
        if not found:
            raise ReleaseError("no study of the release has such labels", file=release.name)
        return set() if self.tables_only else found


WHOLE = Part()
