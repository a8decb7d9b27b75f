"""Which features of a 10x matrix are genes.

One matrix may hold gene expression beside antibodies, guides or peaks; only the
wanted types enter a build, and what is left out is counted by type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellresponse.builders.read.source import CsrBlock, Features, Triplet
from cellresponse.schema.errors import EvidenceError

__all__ = ["FeatureChoice", "choose_features"]


@dataclass(frozen=True)
class FeatureChoice:
    """The features that are kept, and where they were.

    Attributes
    ----------
    features
        The kept ones, in file order.
    dropped
        Number of features left out, by type.
    position
        int32, shape (features of the file,): place among the kept ones, -1 for
        one left out. None where all are kept.
    """

    features: Features
    dropped: dict[str, int]
    position: NDArray[np.int32] | None

    def in_block(self, block: CsrBlock) -> CsrBlock:
        """Move a block from the file's features to the kept ones."""
        if self.position is None:
            return block
        indices = self.position[block.indices]
        moved = CsrBlock(block.start, block.indptr, indices, block.data)
        return moved.where(indices >= 0)

    def in_triplet(self, piece: Triplet) -> Triplet:
        """Move single values from the file's features to the kept ones."""
        if self.position is None:
            return piece
        features = self.position[piece.features]
        keep = features >= 0
        return Triplet(piece.cells[keep], features[keep], piece.values[keep])


def choose_features(
    ids: list[str],
    names: list[str] | None,
    types: list[str] | None,
    wanted: Collection[str],
    *,
    name: str,
) -> FeatureChoice:
    """Keep the features of the wanted types.

    Parameters
    ----------
    ids, names, types
        One entry a feature; `types` is None in files older than feature types,
        which hold genes only, so that all are kept.
    wanted
        Feature types to keep.
    name
        The file's name in the manifest, for messages.

    Raises
    ------
    EvidenceError
        The file has features, and none of a wanted type.
    """
    if types is None or all(kind in wanted for kind in types):
        return FeatureChoice(Features(ids, names), {}, None)
    keep = np.array([kind in wanted for kind in types], dtype=bool)
    if not keep.any():
        raise EvidenceError(
            "the file has no feature of a wanted type",
            file=name,
            column="options.feature_types",
            value=", ".join(wanted),
            allowed=sorted(set(types)),
        )
    position = np.where(keep, np.cumsum(keep) - 1, -1).astype(np.int32)
    kept = np.flatnonzero(keep).tolist()
    features = Features([ids[i] for i in kept], None if names is None else [names[i] for i in kept])
    dropped = Counter(kind for kind in types if kind not in wanted)
    return FeatureChoice(features, dict(sorted(dropped.items())), position)
