"""Features of cells for a head: embeddings of a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from cellresponse.baselines.embed.batches import embed_batch
from cellresponse.baselines.embed.cells import counts_of_rows, genes_of
from cellresponse.baselines.embed.options import EmbedOptions, settled
from cellresponse.baselines.weights import OpenModel, open_model
from cellresponse.releases.release import Release

__all__ = ["EXPRESSION", "Embedder"]

EXPRESSION = "expression"
"""Name of the features that need no model: principal components of variable genes."""

AT_ONCE = 1024


@dataclass(frozen=True)
class Embedder:
    """A model that embeds cells on a release's gene axis."""

    opened: OpenModel
    options: EmbedOptions

    @classmethod
    def open(cls, name: str, weights: Path, device: str) -> Embedder:
        """Load a model.

        Raises
        ------
        ModelError
            An unknown name, or weights that are missing or wrong.
        """
        options = settled(EmbedOptions(device=device), name)
        opened = open_model(name, weights)
        opened.model.network.to(options.device)
        return cls(opened, options)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.opened.name

    @property
    def weights_hash(self) -> str:
        """sha256 over the weights."""
        return self.opened.weights_hash

    @property
    def licence(self) -> str:
        """Licence of the weights."""
        return self.opened.model.card.weights_licence

    def release_cells(
        self, release: Release, cells: pd.DataFrame, counts: sp.csr_matrix
    ) -> NDArray[np.float32]:
        """Embed (cells, genes) counts of cells of a release; (cells, d)."""
        studies = release.tables["studies"].to_pandas().set_index("study_id")
        organism = str(studies.loc[cells["study_id"].iloc[0], "organism"])
        return self.embed(release, organism, counts, cells["cell_id"].tolist())

    def embed(
        self, release: Release, organism: str, counts: sp.csr_matrix, names: list[str]
    ) -> NDArray[np.float32]:
        """Embed (cells, genes) counts on the axis of an organism; names seed the samplers."""
        genes = genes_of(release, organism)
        parts = []
        for start in range(0, counts.shape[0], AT_ONCE):
            rows = counts[start : start + AT_ONCE]
            taken = counts_of_rows(rows, names[start : start + AT_ONCE])
            batch = self.opened.model.tokenise(taken, genes)
            parts.append(embed_batch(self.opened.model, batch, self.options))
        return np.concatenate(parts)
