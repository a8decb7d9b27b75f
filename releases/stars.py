"""Keep resistant labels of at least so many stars, and all sensitive ones."""

from __future__ import annotations

import warnings

import pyarrow as pa
import pyarrow.compute as pc

from cellresponse.schema.errors import ReleaseError

__all__ = ["NoResistantCells", "of_stars"]


class NoResistantCells(UserWarning):
    """A choice of stars left sensitive cells only."""


def of_stars(labels: pa.Table, stars: int | None) -> pa.Table:
    """Filter labels, or labelled cells, by stars.

    Parameters
    ----------
    labels
        With the columns `response`, `stars` and `basis`.
    stars
        1, 2 or 3. None: all labels.

    Raises
    ------
    ReleaseError
        There are no such stars.

    Warns
    -----
    NoResistantCells
        Resistant labels were there, and none of them has so many stars.
    """
    if stars is None:
        return labels
    if isinstance(stars, bool) or stars not in (1, 2, 3):
        raise ReleaseError("there are one to three stars", value=stars, allowed="1, 2, 3")
    resistant = pc.equal(labels["response"], "resistant")
    enough = pc.fill_null(pc.greater_equal(labels["stars"], stars), False)
    kept = labels.filter(pc.or_(enough, pc.invert(resistant)))
    lost = labels.filter(pc.and_(resistant, pc.invert(enough)))
    if len(lost) and len(kept) and not pc.any(pc.equal(kept["response"], "resistant")).as_py():
        bases = ", ".join(sorted(pc.unique(lost["basis"]).to_pylist()))
        warnings.warn(
            f"stars={stars} leaves no resistant cell: the labels by {bases} have fewer stars or "
            "none. Leave out `stars` to have them",
            NoResistantCells,
            stacklevel=3,
        )
    return kept
