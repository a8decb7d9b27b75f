"""CellPLM: a transformer over cells, here with every cell in a sequence of its own.

Input     log1p of raw counts on 19,374 Ensembl ids, without library-size normalisation.
Network   gene embeddings weighted by the values -> Linear, ReLU, GroupNorm(4) -> four
          pre-norm Flowformer layers, in which the cells of a sequence attend to each
          other -> LayerNorm -> one of 16 clusters -> mean of the latent Gaussian.
Embedding 512 numbers, the latent mean.

Corrected default: the cluster is the argmax of its logits, without noise, and each cell is
a sequence of its own, because the published embedding changes by half its norm with the
cells that happen to share the batch. `CellPLM.context` may name fixed cells that every
cell is embedded beside; it is part of the result and must be reported with it.
As published: the batch is one sequence, and the cluster is drawn with Gumbel noise.

Sources   Wen et al., ICLR 2024, doi 10.1101/2023.10.03.560734; facts read from
          OmicsML/CellPLM at b59ee76; flow attention: Wu et al., ICML 2022.
Licence   BSD-2-Clause (code); the weights' licence is not stated separately.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from cellresponse.baselines.models.interface import Batch, Card, Counts, Genes, Model, WeightFile
from cellresponse.baselines.models.parts.checkpoint import (
    beside,
    configured,
    load_strictly,
    read_config,
    read_state,
    weight_path,
)
from cellresponse.baselines.models.parts.genes import align
from cellresponse.schema.errors import ModelError

__all__ = ["CellPLM"]

VOCABULARY = "20230926_85M.config.json"
CHECKPOINT = "20230926_85M.best.ckpt"
HEADS = 8  # not in the configuration file
NORM_GROUPS = 4
POSITIONS = 10_000  # rows of a position table that the checkpoint holds and nothing reads
# What a pretraining checkpoint holds beside the encoder: the decoder of the pretext task.
UNUSED = ("decoder.",)
EPSILON = 1e-6  # of the flows
TINY = {"enc_hid": 32, "enc_layers": 2, "post_latent_dim": 16, "num_clusters": 4}


@dataclass(frozen=True)
class Config:
    """Shape of the network, named as in the published configuration file."""

    gene_list: list[str]
    enc_hid: int = 1024
    enc_layers: int = 4
    post_latent_dim: int = 512
    num_clusters: int = 16
    model_dropout: float = 0.2


class FlowAttention(nn.Module):
    """Attention by conservation of flow: linear in the number of cells, no softmax of pairs."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        if width % HEADS:
            raise ValueError(f"{HEADS} heads do not divide a width of {width}")
        self.query_projection = nn.Linear(width, width)
        self.key_projection = nn.Linear(width, width)
        self.value_projection = nn.Linear(width, width)
        self.out_projection = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the cells of each sequence, (sequences, cells, width)."""
        q = self._heads(self.query_projection(x)).sigmoid()  # (S, H, L, D)
        k = self._heads(self.key_projection(x)).sigmoid()
        v = self._heads(self.value_projection(x))
        # Flows divide by sums over all cells: float32, whatever surrounds this.
        with torch.autocast(x.device.type, enabled=False):
            mixed = _flow_attention(q, k, v)
        merged = mixed.transpose(1, 2).flatten(2).to(x.dtype)  # (S, L, H * D)
        return self.dropout(self.out_projection(merged))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (HEADS, -1)).transpose(1, 2).float()


def _flow_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Mix values (S, H, L, D): what a cell receives and gives is conserved."""
    incoming = 1 / _flow(q, k.sum(2, keepdim=True))  # (S, H, L, 1)
    outgoing = 1 / _flow(k, q.sum(2, keepdim=True))
    sink = _flow(q, (k * outgoing).sum(2, keepdim=True))
    source = _flow(k, (q * incoming).sum(2, keepdim=True)).clamp(-1, 1)
    competition = source.softmax(2) * source.shape[2]
    return (q * incoming) @ (k.transpose(2, 3) @ (v * competition)) * sink.sigmoid()


def _flow(x: Tensor, total: Tensor) -> Tensor:
    return ((x + EPSILON) * (total + EPSILON)).sum(3, keepdim=True)


class FlowLayer(nn.Module):
    """One pre-norm layer."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = FlowAttention(width, dropout)
        self._ff_block = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (sequences, cells, width)."""
        x = x + self.self_attn(self.norm1(x))
        return x + self._ff_block(self.norm2(x))


class Embedder(nn.Module):
    """Cells from the values of their genes."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.enc_hid
        self.feat_enc = nn.ParameterDict(
            {"emb": nn.Parameter(torch.randn(len(config.gene_list), width) * 0.02)}
        )
        self.extra_linear = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(config.model_dropout),
            nn.GroupNorm(NORM_GROUPS, width),
        )
        # In the checkpoint, but without any effect on the output.
        self.norm0 = nn.GroupNorm(NORM_GROUPS, width)
        self.pe_enc = nn.Module()
        self.pe_enc.missing_pe = nn.Parameter(torch.zeros(width))
        self.pe_enc.pe_enc = nn.Embedding(POSITIONS, width)

    def forward(self, values: Tensor) -> Tensor:
        """Turn values (cells, genes) into (cells, width)."""
        return self.extra_linear(values @ self.feat_enc["emb"])


class Gaussian(nn.Module):
    """Mean and variance of a latent variable; an embedding is the mean."""

    def __init__(self, inputs: int, latent: int) -> None:
        super().__init__()
        self.mu = nn.Linear(inputs, latent)
        self.var = nn.Linear(inputs, latent)

    def forward(self, x: Tensor) -> Tensor:
        """Give the mean, (cells, latent)."""
        return self.mu(x)


class Inference(nn.Module):
    """The encoder's half of a variational mixture of Gaussians."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        clusters, latent = config.num_clusters, config.post_latent_dim
        self.inference_qyx = nn.ModuleList(
            [nn.ModuleDict({"logits": nn.Linear(config.enc_hid, clusters)})]
        )
        self.inference_qzyx = nn.Sequential(
            nn.Linear(config.enc_hid + clusters, latent), nn.ReLU(), Gaussian(latent, latent)
        )
        self.y_mu = nn.Linear(clusters, latent)  # the mixture's prior: no part of an embedding
        self.y_var = nn.Linear(clusters, latent)

    def logits(self, x: Tensor) -> Tensor:
        """Score the clusters of each cell, (cells, clusters)."""
        return self.inference_qyx[0]["logits"](x)  # type: ignore[index]

    def forward(self, x: Tensor, *, noise: bool) -> Tensor:
        """Give the latent mean (cells, latent) of states (cells, width)."""
        scores = self.logits(x).float()
        if noise:  # Gumbel
            scores = scores - torch.rand_like(scores).add(1e-20).log().neg().add(1e-20).log()
        cluster = F.one_hot(scores.argmax(1), scores.shape[1]).to(x.dtype)
        return self.inference_qzyx(torch.cat([x, cluster], 1))


class Network(nn.Module):
    """The published module tree without the pretext task's decoder."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        layers = (FlowLayer(config.enc_hid, config.model_dropout) for _ in range(config.enc_layers))
        self.embedder = Embedder(config)
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(layers)})
        self.pre_latent_norm = nn.ModuleDict({"norm": nn.LayerNorm(config.enc_hid)})
        inference = nn.ModuleDict({"inference": Inference(config)})
        self.latent = nn.ModuleDict({"layers": nn.ModuleDict({"1": inference})})

    def encode(self, sequences: Tensor) -> Tensor:
        """Let the cells of each sequence attend to each other, (sequences, cells, width)."""
        for layer in cast("nn.ModuleList", self.encoder["layers"]):
            sequences = layer(sequences)
        return sequences

    @property
    def inference(self) -> Inference:
        """The head that gives the latent mean."""
        return self.latent["layers"]["1"]["inference"]  # type: ignore[index]

    def logits(self, states: Tensor) -> Tensor:
        """Score the clusters (cells, clusters) of encoded cells (cells, width)."""
        return self.inference.logits(self.pre_latent_norm["norm"](states))

    def forward(self, states: Tensor, *, noise: bool) -> Tensor:
        """Give the latent mean (cells, latent) of encoded cells (cells, width)."""
        return self.inference(self.pre_latent_norm["norm"](states), noise=noise)


class CellPLM(Model):
    """CellPLM 85M.

    Attributes
    ----------
    context
        Tokens of fixed cells that every cell is embedded beside. None: each cell alone.
        As published the batch itself is the context, and this is not looked at.
    """

    card = Card(
        name="cellplm",
        title="CellPLM 85M",
        parameters=65_827_344,
        dimension=512,
        tokens="log1p raw counts of 19,374 genes; a cell is one token",
        organisms=("human",),
        gene_names="ensembl",
        code_licence="BSD-2-Clause",
        weights_licence="not stated apart from the code's",
        sources=(
            "doi:10.1101/2023.10.03.560734",
            "https://github.com/OmicsML/CellPLM/tree/b59ee7688b1bd2a745856a610248b46f15019a22",
        ),
        files=(WeightFile(CHECKPOINT, "weights"), WeightFile(VOCABULARY, "vocabulary")),
        mark=("latent.layers.1.inference.inference_qyx.0.logits.weight",),
    )
    # A cell alone in its sequence receives its own value whatever its query and key are, so
    # adapters of these two do nothing; the value and the output projection are what is left.
    lora_targets = ("value_projection", "out_projection")
    lora_targets_as_published = ("query_projection", "key_projection", "value_projection")
    # Genes are summed before the network, which pads nothing; reading its weights takes the time.
    cpu_tokens = 1_048_576

    network: Network

    def __init__(self, config: Config, *, as_published: bool = False) -> None:
        self.config = config
        self.dimension = config.post_latent_dim
        self.network = Network(config).eval()
        self.as_published = as_published
        self.context: Batch | None = None
        self._vocabulary = {name: place for place, name in enumerate(config.gene_list)}

    @classmethod
    def create(
        cls, files: Path, *, size: Literal["published", "tiny"], as_published: bool, seed: int
    ) -> CellPLM:
        """Make the model with random weights; `tiny` has two layers of width 32."""
        config = read_vocabulary(files)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            small = replace(config, **TINY)  # type: ignore[arg-type]
            return cls(small if size == "tiny" else config, as_published=as_published)

    @classmethod
    def load(cls, weights: Path, *, as_published: bool) -> CellPLM:
        """Load a checkpoint with its configuration file beside it; the file gives the shape."""
        path = weight_path(weights, cls.card)
        config = Config(**read_config(path, asdict(read_vocabulary(path))))
        with configured(path):
            model = cls(config, as_published=as_published)
        load_strictly(model.network, model.convert(read_state(path, "model_state_dict")), path)
        return model

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out the decoder of the pretext task; all other keys are the published ones."""
        return {key: value for key, value in state.items() if not key.startswith(UNUSED)}

    def tokenise(self, counts: Counts, genes: Genes) -> Batch:
        """Give each cell's known genes as places in the vocabulary, with log1p of their counts."""
        alignment = align(genes, self._vocabulary, self.card)
        known = alignment.apply(counts)
        fields = {
            "gene": alignment.tokens[known.genes].astype(np.int32),
            "value": np.log1p(known.values.astype(np.float32)),
        }
        return Batch(fields, known.offsets, coverage=alignment.coverage(counts))

    def forward(self, batch: Batch) -> Tensor:
        """Give latent means (cells, 512) with gradients."""
        return self.network(self.encode(batch), noise=self.as_published)

    def encode(self, batch: Batch) -> Tensor:
        """Give the states (cells, width) that the latent variable is inferred from."""
        cells = self.network.embedder(self.dense(batch))  # (cells, width)
        if self.as_published:
            return self.network.encode(cells[None])[0]
        sequences = cells[:, None]  # (cells, 1, width)
        if self.context is not None:
            beside_it = self.network.embedder(self.dense(self.context))
            sequences = torch.cat([sequences, beside_it.expand(len(cells), -1, -1)], 1)
        return self.network.encode(sequences)[:, 0]

    def dense(self, batch: Batch) -> Tensor:
        """Lay values out as (cells, genes); one dense product beats gathering rows."""
        table = self.network.embedder.feat_enc["emb"]
        row = np.repeat(np.arange(len(batch)), batch.lengths)
        values = torch.zeros(len(batch), len(table))
        values[torch.from_numpy(row), torch.from_numpy(batch.fields["gene"]).long()] = (
            torch.from_numpy(batch.fields["value"])
        )
        return values.to(table.device, table.dtype)


def read_vocabulary(weights: Path) -> Config:
    """Read the published configuration, which holds the genes, beside the weights.

    Raises
    ------
    ModelError
        It is missing, or is no such file.
    """
    path = beside(weights, VOCABULARY, CellPLM.card)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        chosen = {field.name: found[field.name] for field in dataclass_fields(Config)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"is no configuration of CellPLM ({type(error).__name__}: {error})",
            file=path,
            hint=f"Take {VOCABULARY} from the model's authors",
        ) from None
    return Config(**chosen)
