"""The model of the synthetic counts: what each cell is expected to express, and its noise.

Counts are negative binomial. A cell's expected share of each gene is the product of
log-normal effects of its line or patient, its batch and its kind; in resistant cells
the genes of `RESISTANCE_PROGRAMME` are shifted as well. Each line, batch and sample
draws from a stream of its own, so none of them changes when another is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cellresponse.builders.genes import GeneAxis
from cellresponse.builders.simulate.programme import (
    PLANTED,
    PROGRAMME_LOG_FOLD_CHANGE,
    RESISTANCE_PROGRAMME,
)
from cellresponse.schema.errors import ReleaseError

__all__ = ["OTHER_CELL", "Cells", "Model", "Sample", "few_faulty"]

# Chosen so that cells show about 1,000 of the table's 2,000 genes and pass the thresholds
# of real releases. Standard deviations are of natural logarithms.
GENE_SD, LINE_SD, PATIENT_SD, BATCH_SD, KIND_SD = 1.6, 0.5, 0.3, 0.25, 0.8
DEPTH, DEPTH_SD = 6_000.0, 0.25
GAMMA_SHAPE = 4.0
EMPTY_DEPTH = 0.04
ACTIVITY_SD = 0.3
TUMOUR_SHARE = 0.6

OTHER_CELL = "synthetic immune cell"
"""Cell type of what is no tumour in a patient's sample."""


@dataclass(frozen=True)
class Sample:
    """A sample of a synthetic study.

    Attributes
    ----------
    row
        Its row of `samples.csv`, by column.
    resistance
        How far the programme of its treatment is on, 0 to 1.
    """

    row: dict[str, str]
    resistance: float = 0.0

    @property
    def id(self) -> str:
        """The id of the sample."""
        return self.row["sample_id"]


@dataclass(frozen=True)
class Cells:
    """The cells of a file, in its order.

    Attributes
    ----------
    counts
        int64, shape (cells, genes).
    samples
        `Sample` of each cell, shape (cells,).
    tumour
        Whether a cell is a tumour cell, shape (cells,); true of every cell of a line.
    doublet
        Whether a barcode holds two cells, shape (cells,).
    """

    counts: NDArray[np.int64]
    samples: NDArray[np.object_]
    tumour: NDArray[np.bool_]
    doublet: NDArray[np.bool_]

    @property
    def barcodes(self) -> list[str]:
        """Distinct barcodes in the form of 10x: a counter written with four letters."""
        letters = str.maketrans("0123", "ACGT")
        numbers = (np.base_repr(n, 4).zfill(16) for n in range(len(self.samples)))
        return [f"{number.translate(letters)}-1" for number in numbers]


class Model:
    """Expected expression of any cell, on the genes of an axis.

    Parameters
    ----------
    seed
        Seed of every stream of random numbers.
    axis
        Human genes; it must hold the planted genes and mitochondrial ones.

    Raises
    ------
    ReleaseError
        The axis lacks a gene that the simulator needs.
    """

    def __init__(self, seed: int, axis: GeneAxis) -> None:
        _require_genes(axis)
        self.seed = seed
        self.axis = axis
        self.base = self.effect("genes", GENE_SD)
        columns = [axis.by_name[name][0] for name in sorted(PLANTED)]
        # A gene that is hardly seen shows no shift: planted ones are above the median.
        self.base[columns] = np.maximum(self.base[columns], 0.5)

    def stream(self, name: str) -> np.random.Generator:
        """Give a stream of random numbers that depends on the seed and the name only."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=tuple(name.encode()))
        return np.random.Generator(np.random.PCG64(sequence))

    def effect(self, name: str, sd: float) -> NDArray[np.float64]:
        """Natural logarithm of what a line, batch, ... does to each gene, shape (genes,)."""
        return self.stream(f"effect of {name}").normal(0.0, sd, len(self.axis))

    def programme(self, drug: str) -> NDArray[np.float64]:
        """Natural logarithm of what resistance to a drug does to each gene, shape (genes,)."""
        shift = np.zeros(len(self.axis))
        for names, change in zip(RESISTANCE_PROGRAMME[drug], (1.0, -1.0), strict=True):
            shift[[self.axis.by_name[n][0] for n in names]] = change * PROGRAMME_LOG_FOLD_CHANGE
        return shift

    def file_cells(self, samples: Sequence[Sample], sound: int, doublets: int = 0) -> Cells:
        """Draw the cells of a file and mix them, as droplets come in no order.

        Parameters
        ----------
        samples
            Samples of the file, at least one.
        sound, doublets
            Number of sound cells, and of barcodes with two cells, in each sample.
        """
        parts = [self._cells(sample, sound, doublets) for sample in samples]
        order = self.stream(f"order of {samples[0].row['file']}").permutation(
            sum(len(part.samples) for part in parts)
        )
        return Cells(
            *(
                np.concatenate([getattr(part, field.name) for part in parts])[order]
                for field in fields(Cells)
            )
        )

    def _cells(self, sample: Sample, sound: int, doublets: int) -> Cells:
        """Draw the cells of a sample: sound ones, then empty droplets, dying cells, doublets."""
        stream = self.stream(f"cells of {sample.id}")
        empty, dying = few_faulty(sound), few_faulty(sound)
        number = sound + empty + dying
        tumour = np.ones(number, dtype=bool)
        if "patient_id" in sample.row:
            tumour = stream.random(number) < TUMOUR_SHARE
        mitochondrial_share = stream.beta(8.0, 192.0, number)
        mitochondrial_share[sound + empty :] = stream.uniform(0.2, 0.4, dying)
        depth = DEPTH * np.exp(stream.normal(0.0, DEPTH_SD, number))
        depth[sound : sound + empty] *= EMPTY_DEPTH
        shares = self._shares(sample, tumour, mitochondrial_share, stream)
        noise = stream.gamma(GAMMA_SHAPE, 1 / GAMMA_SHAPE, shares.shape)
        counts = stream.poisson(depth[:, np.newaxis] * shares * noise)
        first, second = stream.integers(0, sound, (2, doublets))
        return Cells(
            np.concatenate([counts, counts[first] + counts[second]]),
            np.full(number + doublets, sample, dtype=object),
            np.concatenate([tumour, tumour[first]]),
            np.arange(number + doublets) >= number,
        )

    def _shares(
        self,
        sample: Sample,
        tumour: NDArray[np.bool_],
        mitochondrial_share: NDArray[np.float64],
        stream: np.random.Generator,
    ) -> NDArray[np.float64]:
        """Give the expected share of each gene, shape (cells, genes); rows sum to 1."""
        row = sample.row
        if "patient_id" in row:
            origin = self.effect(row["patient_id"], PATIENT_SD)
        else:
            origin = self.effect(row["cell_line"], LINE_SD)
        log_means = self.base + origin + self.effect(row["batch"], BATCH_SD)
        logs = log_means + np.outer(~tumour, self.effect(OTHER_CELL, KIND_SD))
        if sample.resistance:
            activity = sample.resistance * stream.normal(1.0, ACTIVITY_SD, len(tumour))
            logs += np.outer(activity * tumour, self.programme(row["treatment"]))
        shares = np.exp(logs)
        for genes, share in (
            (self.axis.mitochondrial, mitochondrial_share),
            (~self.axis.mitochondrial, 1 - mitochondrial_share),
        ):
            shares[:, genes] *= (share / shares[:, genes].sum(axis=1))[:, np.newaxis]
        return shares


def few_faulty(sound: int) -> int:
    """Give the number of faulty cells of a kind in a sample: one in 25, at least one."""
    return max(1, sound // 25)


def _require_genes(axis: GeneAxis) -> None:
    absent = sorted(PLANTED - axis.by_name.keys())
    if absent or not axis.mitochondrial.any():
        raise ReleaseError(
            "the gene reference lacks genes that the simulator needs",
            column="organisms.human.genes",
            value=", ".join(absent) or "no mitochondrial gene",
            hint="Use the gene table of the demo release, releases/demo_genes.csv",
        )
