"""UCE: a transformer over genes sampled by expression and laid out along the genome.

Input     raw counts on genes with an ESM2 protein embedding (symbols, upper case): 1,024
          draws with replacement, p proportional to log1p(count); the drawn genes are grouped
          by chromosome in random order and sorted by start; CLS, then for each chromosome
          its own token, its genes, the closing token.
Network   protein embedding (5,120, L2-normalised) -> Linear, GELU, LayerNorm, x sqrt(1280)
          -> sinusoidal positions -> 4 or 33 post-norm ReLU layers of 20 heads -> decoder of
          three blocks (Linear, LayerNorm, GELU) and a Linear.
Embedding 1,280 numbers, the decoder's output at CLS, L2-normalised.

Corrected default: padding is masked out; every cell draws from a seed of its own.
As published: every cell is padded to 1,536 and pads get +1 on their attention logits instead
of minus infinity, so that they leak into the embedding.
Not done in either: the official script first drops genes found in fewer than 10 cells of the
data set and cells with fewer than 25 genes, which ties an embedding to its data set;
scDrugMap's fine-tuning loader reads cell 1 in the place of cell 0.

The checkpoint holds the table of all token vectors, so `all_tokens.torch` is not needed.

Sources   Rosen et al., 2023, doi 10.1101/2023.11.28.568918; facts read from
          snap-stanford/UCE at 8ead6e0.
Licence   MIT (code), CC-BY-4.0 (weights).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from numpy.typing import NDArray
from torch import Tensor, nn

from cellresponse.baselines.models.interface import (
    Batch,
    Card,
    Counts,
    Genes,
    Model,
    WeightFile,
    pad,
)
from cellresponse.baselines.models.parts.checkpoint import (
    beside,
    configured,
    find_beside,
    load_strictly,
    read_config,
    read_state,
    require_tokens,
    weight_path,
)
from cellresponse.baselines.models.parts.encoder import CALLED_PROJECTIONS, EncoderLayer
from cellresponse.baselines.models.parts.genes import align
from cellresponse.baselines.models.parts.pickled_dictionary import read_dictionary
from cellresponse.schema.errors import ModelError

__all__ = ["UCE", "UCE33L", "Config", "Vocabulary"]

PAD, CLOSE, CLS, CHROMOSOMES = 0, 2, 3, 143_574  # tokens; 1 opened chromosomes in earlier models
OFFSETS, LOCATIONS = "species_offsets.pkl", "species_chrom.csv"
PROTEINS = {
    "human": "Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt",
    "mouse": "Mus_musculus.GRCm39.gene_symbol_to_embedding_ESM2.pt",
}
MEMBER = f"#protein_embeddings/{PROTEINS['human']}"  # of an archive
FIGSHARE = "https://figshare.com/ndownloader/files"


@dataclass(frozen=True)
class Config:
    """Shape of the network, named as in the published code."""

    nlayers: int
    token_dim: int = 5120
    d_model: int = 1280
    d_hid: int = 5120
    nhead: int = 20
    dropout: float = 0.05
    tokens: int = 145_469
    sample_size: int = 1024
    pad_length: int = 1536  # rows of the position table; what published batches are padded to


TINY = Config(nlayers=2, token_dim=16, d_model=40, d_hid=80, sample_size=128, pad_length=400)


@dataclass(frozen=True)
class Vocabulary:
    """Genes of an organism that have a protein embedding and a place on the genome.

    Attributes
    ----------
    places
        Row of each upper-case symbol in the arrays below.
    token, chromosome, start
        (genes,) int64: row of the token table, code of the chromosome, first base.
    """

    places: Mapping[str, int]
    token: NDArray[np.int64]
    chromosome: NDArray[np.int64]
    start: NDArray[np.int64]


# --- tokens ------------------------------------------------------------------------------


def sample(
    weights: NDArray[np.float64], draws: int, chromosomes: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the genes of one cell and an order of the chromosomes.

    Parameters
    ----------
    weights
        (genes,) log1p counts of the cell's genes; may be empty.
    draws
        How many genes to draw, with replacement.
    chromosomes
        Number of chromosomes of the organism.
    seed
        Of the cell.

    Returns
    -------
    drawn : numpy.ndarray
        (draws,) int64, places in `weights`; (0,) for an empty cell.
    rank : numpy.ndarray
        (chromosomes,) int64, place of each chromosome in the sentence.
    """
    rng = np.random.default_rng(seed)
    rank = rng.permutation(chromosomes)
    if len(weights) == 0:
        return np.empty(0, np.int64), rank
    edges = np.cumsum(weights)
    drawn = np.searchsorted(edges, rng.random(draws) * edges[-1], side="right")
    return np.minimum(drawn, len(weights) - 1), rank


def arrange(
    vocabulary: Vocabulary,
    genes: NDArray[np.int64],
    rank: NDArray[np.int64],
    row: NDArray[np.int64],
    cells: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Lay drawn genes out as sentences.

    Parameters
    ----------
    vocabulary
        Of the organism.
    genes, rank, row
        (draws,) int64: place in the vocabulary of each drawn gene, place of its
        chromosome in the cell's sentence, and cell.
    cells
        Number of cells.

    Returns
    -------
    tokens : numpy.ndarray
        (tokens,) int32: CLS, then `chromosome genes close` for each chromosome.
    offsets : numpy.ndarray
        (cells + 1,) int64.
    """
    order = np.lexsort((vocabulary.start[genes], rank, row))
    genes, rank, row = genes[order], rank[order], row[order]
    first = np.append(True, (np.diff(row) != 0) | (np.diff(rank) != 0))[: len(row)]
    group = np.cumsum(first)  # chromosomes opened so far, this one included
    lengths = 1 + np.bincount(row, minlength=cells) + 2 * np.bincount(row[first], minlength=cells)
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
    # Before a gene stand the genes before it, a CLS for each cell up to its own, a token for
    # each chromosome up to its own and a closing token for each chromosome before its own.
    place = np.arange(len(genes)) + (row + 1) + group + (group - 1)
    tokens = np.full(offsets[-1], CLOSE, np.int32)
    tokens[offsets[:-1]] = CLS
    tokens[place] = vocabulary.token[genes]
    tokens[place[first] - 1] = vocabulary.chromosome[genes[first]] + CHROMOSOMES
    return tokens, offsets


# --- network -----------------------------------------------------------------------------


def _blocks(widths: tuple[int, ...], dropout: float) -> list[nn.Module]:
    return [
        nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), nn.GELU(), nn.Dropout(dropout))
        for a, b in pairwise(widths)
    ]


class Positions(nn.Module):
    """Sinusoids, kept in the checkpoint as a buffer [length, 1, width]."""

    pe: Tensor

    def __init__(self, length: int, width: int, dropout: float) -> None:
        super().__init__()
        position = torch.arange(length)[:, None]
        rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
        waves = torch.stack([torch.sin(position * rate), torch.cos(position * rate)], 2)
        self.register_buffer("pe", waves.reshape(length, 1, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Add positions to (cells, length, width)."""
        return self.dropout(x + self.pe[: x.shape[1], 0].to(x.dtype))


class Network(nn.Module):
    """The published module tree. The token table is left as it lies in memory: fill it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.width = width = config.d_model
        deep = config.dropout
        table = torch.empty(config.tokens, config.token_dim)  # 3 GB; untouched rows cost nothing
        self.pe_embedding = nn.Embedding.from_pretrained(table, freeze=True)
        self.encoder = nn.Sequential(
            nn.Linear(config.token_dim, width), nn.GELU(), nn.LayerNorm(width)
        )
        self.pos_encoder = Positions(config.pad_length, width, deep)
        layers = [
            EncoderLayer(width, config.nhead, config.d_hid, deep) for _ in range(config.nlayers)
        ]
        self.transformer_encoder = nn.ModuleDict({"layers": nn.ModuleList(layers)})
        self.decoder = nn.Sequential(
            *_blocks((width, 1024, width, width), deep), nn.Linear(width, width)
        )
        # Heads of the pretext task: in the checkpoint, no part of an embedding.
        self.binary_decoder = nn.Sequential(
            *_blocks((2 * width, 2048, 512, 128), deep), nn.Linear(128, 1)
        )
        self.gene_embedding_layer = nn.Sequential(
            nn.Linear(config.token_dim, width), nn.GELU(), nn.LayerNorm(width)
        )

    def encode(self, tokens: Tensor, mask: Tensor | None, wanted: int | None = None) -> Tensor:
        """Transform tokens (cells, length) into their first states (cells, wanted, width)."""
        # A token recurs within and between cells: its 5,120 numbers are projected once.
        used, place = tokens.unique(return_inverse=True)
        vectors = F.normalize(self.pe_embedding(used), dim=1)  # (used, token_dim)
        x = (self.encoder(vectors) * math.sqrt(self.width))[place]
        x = self.pos_encoder(x)
        stack = cast("nn.ModuleList", self.transformer_encoder["layers"])
        last = stack[-1]
        for layer in stack[:-1]:
            x = layer(x, mask)
        return last(x, mask, wanted)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Embed cells: (cells, width), unit norm."""
        return F.normalize(self.decoder(self.encode(tokens, mask, 1)[:, 0]), dim=1)


# --- model -------------------------------------------------------------------------------


def _card(layers: int, weights: str, figure: int, parameters: int) -> Card:
    return Card(
        name="uce" if layers == 4 else f"uce-{layers}l",
        title=f"Universal Cell Embedding, {layers} layers",
        parameters=parameters,
        dimension=1280,
        tokens="1,024 genes drawn by log1p counts, sorted along the chromosomes",
        organisms=tuple(PROTEINS),
        gene_names="symbol",
        code_licence="MIT",
        weights_licence="CC-BY-4.0",
        sources=(
            "doi:10.1101/2023.11.28.568918",
            "https://github.com/snap-stanford/UCE/tree/8ead6e07af0c80f75653598138bb704e865b45c8",
        ),
        files=(
            WeightFile(weights, "weights", f"{FIGSHARE}/{figure}"),
            WeightFile(LOCATIONS, "vocabulary", f"{FIGSHARE}/42706558"),
            WeightFile(OFFSETS, "vocabulary", f"{FIGSHARE}/42706555"),
            # Out of the archive protein_embeddings.tar.gz, which has the mouse's file too.
            WeightFile(PROTEINS["human"], "vocabulary", f"{FIGSHARE}/42715213{MEMBER}"),
        ),
        hashed=(PROTEINS["mouse"],),
        mark=("pe_embedding.weight", "gene_embedding_layer.0.weight"),
    )


class UCE(Model):
    """Universal Cell Embedding with four layers."""

    card = _card(4, "4layer_model.torch", 42706576, 848_901_377)
    published: ClassVar[Config] = Config(nlayers=4)
    lora_targets = CALLED_PROJECTIONS
    lora_targets_as_published = ("out_proj",)
    # Only the layers were wrapped, so 12.5 million other parameters were trained in full.
    trainable_as_published = ("encoder.", "decoder.")

    network: Network

    def __init__(
        self,
        config: Config,
        vocabularies: Mapping[str, Vocabulary],
        *,
        as_published: bool = False,
    ) -> None:
        self.config = config
        self.dimension = config.d_model
        self.network = Network(config).eval()
        self.as_published = as_published
        self._vocabularies = vocabularies

    @classmethod
    def create(
        cls, files: Path, *, size: Literal["published", "tiny"], as_published: bool, seed: int
    ) -> UCE:
        """Make the model with random weights; `tiny` has two layers of width 40."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = TINY if size == "tiny" else cls.published
            model = cls(config, read_vocabularies(files, cls.card), as_published=as_published)
            nn.init.normal_(model.network.pe_embedding.weight)
        return model

    @classmethod
    def load(cls, weights: Path, *, as_published: bool) -> UCE:
        """Load a checkpoint with the tables of genes beside it."""
        path = weight_path(weights, cls.card)
        config = Config(**read_config(path, asdict(cls.published)))
        vocabularies = read_vocabularies(path.parent, cls.card)
        for organism, vocabulary in vocabularies.items():
            require_tokens(vocabulary.token, config.tokens, path.with_name(PROTEINS[organism]))
        with configured(path):
            model = cls(config, vocabularies, as_published=as_published)
        load_strictly(model.network, model.convert(read_state(path)), path)
        return model

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the state as it is: the keys are the published ones."""
        return dict(state)

    def tokenise(self, counts: Counts, genes: Genes) -> Batch:
        """Draw and lay out each cell's sentence from its own seed."""
        vocabulary = self._vocabulary(genes.organism)
        alignment = align(genes, vocabulary.places, self.card, spelling=str.upper)
        known = alignment.apply(counts)
        # In the order of the vocabulary: draws must not depend on the order of the columns.
        place = alignment.tokens[known.genes]
        cell = np.repeat(np.arange(len(known)), np.diff(known.offsets))
        order = np.lexsort((place, cell))
        place, weights = place[order], np.log1p(known.values[order].astype(np.float64))
        codes, local = np.unique(vocabulary.chromosome, return_inverse=True)
        draws = self.config.sample_size
        drawn, rank = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for row, seed in enumerate(known.seeds):
            span = slice(known.offsets[row], known.offsets[row + 1])
            chosen, order_of = sample(weights[span], draws, len(codes), int(seed))
            drawn.append(place[span][chosen])
            rank.append(order_of[local[drawn[-1]]])
        row_of = np.repeat(np.arange(len(known)), [len(part) for part in drawn[1:]])
        tokens, offsets = arrange(
            vocabulary, np.concatenate(drawn), np.concatenate(rank), row_of, len(known)
        )
        return Batch({"token": tokens}, offsets, coverage=alignment.coverage(counts))

    def _vocabulary(self, organism: str) -> Vocabulary:
        if organism in PROTEINS and organism not in self._vocabularies:
            raise ModelError(
                f"the protein embeddings of {organism} were not beside the weights of UCE",
                allowed=[PROTEINS[name] for name in self._vocabularies],
                hint=f"Put {PROTEINS[organism]} there, from {self.card.files[-1].url}",
            )
        # Another organism is refused by `align`, which names those of the card.
        return self._vocabularies.get(organism, Vocabulary({}, *[np.empty(0, np.int64)] * 3))

    def forward(self, batch: Batch) -> Tensor:
        """Give unit-length embeddings (cells, 1280) with gradients."""
        return self.network(*self.inputs(batch))

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Give tokens (cells, length) and the attention mask of a batch, on the device."""
        length = self.config.pad_length if self.as_published else None
        tokens, real = pad(batch, "token", PAD, length=length)
        if self.as_published:
            mask: Tensor | None = (~real).float().to(self.device)
        else:
            mask = None if bool(real.all()) else real.to(self.device)
        return tokens.long().to(self.device), mask


class UCE33L(UCE):
    """Universal Cell Embedding with 33 layers."""

    card = _card(33, "33l_8ep_1024t_1280.torch", 43423236, 1_419_547_137)
    published = replace(UCE.published, nlayers=33)


# --- files -------------------------------------------------------------------------------


def read_vocabularies(folder: Path, card: Card) -> dict[str, Vocabulary]:
    """Read the genes of every organism whose protein embeddings are in a folder.

    Parameters
    ----------
    folder
        Holds `species_offsets.pkl`, `species_chrom.csv` and the protein embeddings of at
        least one organism.
    card
        For messages.

    Raises
    ------
    ModelError
        A file is missing, unsafe or not what it should be.
    """
    offsets = read_dictionary(beside(folder, OFFSETS, card), int)
    locations = _read_locations(beside(folder, LOCATIONS, card))
    paths = {organism: find_beside(folder, name, card) for organism, name in PROTEINS.items()}
    found = {organism: path for organism, path in paths.items() if path is not None}
    if not found:
        beside(folder, PROTEINS["human"], card)
    if missing := found.keys() - offsets.keys():
        raise ModelError("lacks an organism", file=folder / OFFSETS, value=missing.pop())
    return {
        organism: _vocabulary(list(read_state(path)), offsets[organism], locations, organism)
        for organism, path in found.items()
    }


def _vocabulary(
    symbols: list[str],
    offset: int,
    locations: Mapping[tuple[str, str], tuple[int, int]],
    organism: str,
) -> Vocabulary:
    """Join the order of the protein embeddings with the places on the genome."""
    rows = [
        (symbol.upper(), offset + row, *locations[organism, symbol.upper()])
        for row, symbol in enumerate(symbols)
        if (organism, symbol.upper()) in locations
    ]
    names = [name for name, *_ in rows]
    numbers = np.array([numbers for _, *numbers in rows], np.int64).reshape(-1, 3)
    return Vocabulary({name: place for place, name in enumerate(names)}, *numbers.T)


def _read_locations(path: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """Read chromosome code and start by organism and symbol.

    A code is a place in the sorted list of all `<organism>_<chromosome>`.
    """
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            rows = [
                (row["species"], row["gene_symbol"], row["chromosome"], int(row["start"]))
                for row in csv.DictReader(lines)
                if row["chromosome"]
            ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"is no table of gene locations ({type(error).__name__}: {error})",
            file=path,
            allowed="columns species, gene_symbol, chromosome, start",
        ) from None
    names = sorted({f"{species}_{chromosome}" for species, _, chromosome, _ in rows})
    codes = {name: code for code, name in enumerate(names)}
    # The first row of a symbol counts.
    return {
        (species, symbol): (codes[f"{species}_{chromosome}"], start)
        for species, symbol, chromosome, start in reversed(rows)
    }
