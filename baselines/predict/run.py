"""Predict the response of a user's cells to a drug."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cellresponse import __version__
from cellresponse.baselines.benchmark.expression import ExpressionFeatures, log_normalise
from cellresponse.baselines.predict.features import EXPRESSION, Embedder
from cellresponse.baselines.predict.train import train_head, training_task
from cellresponse.baselines.predict.trained_head import TrainedHead, load_head, save_head
from cellresponse.baselines.predict.user_cells import UserCells, read_user_cells
from cellresponse.baselines.report.maps import umap
from cellresponse.builders.progress import Report, silent
from cellresponse.releases.canonical import canonical_json
from cellresponse.releases.release import Release
from cellresponse.schema.errors import ModelError, StorageError
from cellresponse.schema.storage import storage_errors

__all__ = ["Prediction", "predict", "prediction_lines"]

CHANCE = 0.6
"""AUROC below which held-out predictions are not worth a call."""


@dataclass(frozen=True)
class Prediction:
    """Predictions of a file, and the head that made them.

    Attributes
    ----------
    table
        barcode, drug_id, model, probability (of sensitive, as the head says it),
        confidence (the same, calibrated on held-out cells), call, counts_mapped (share of
        the cell's counts on known genes), distance, far (distance beyond that of 99 % of
        the training cells).
    head
        The head.
    cells
        The cells.
    features, figure
        (cells, d) features; the page with the UMAP.
    """

    table: pd.DataFrame
    head: TrainedHead
    cells: UserCells
    features: NDArray[np.float32]
    figure: Path


def predict(
    cells: Path,
    release: Release,
    drug: str,
    *,
    out: Path,
    heads: Path,
    model: str = EXPRESSION,
    weights: Path | None = None,
    device: str = "cpu",
    seed: int = 0,
    report: Report = silent,
) -> Prediction:
    """Predict, with a head that is trained first where it is not there yet.

    Another version of cellresponse trains a head of its own.

    Parameters
    ----------
    cells
        h5ad file of raw counts.
    release
        Whose labels the head learns from.
    drug
        Treatment, by id, name or synonym.
    out
        Parquet file to write; a UMAP is written beside it as HTML.
    heads
        Folder of trained heads.
    model
        `expression`, or a model's name.
    weights
        Folder of the model's weights. None: for `expression`.
    device, seed
        Of torch.
    report
        Receives lines about the progress.

    Raises
    ------
    ReleaseError
        The release has no labels to learn from: with the reasons.
    ModelError
        The model's weights are missing or wrong.
    SourceFileError, CountsError
        The file is missing, damaged or does not hold raw counts; before anything is trained.
    StorageError
        Nothing can be written to `out`; before anything is trained.
    """
    _require_writable(out)
    drug_id = release.drug_id(drug)
    embedder = None
    if model != EXPRESSION:
        if weights is None:
            raise ModelError(f"the weights of {model} are missing", hint="Give --weights FOLDER")
        embedder = Embedder.open(model, weights, device)
    organism, give_head = _head(release, drug_id, embedder, heads, seed, report)
    read = read_user_cells(cells, release, organism)
    head = give_head()
    features = _features(release, read, head, embedder)
    table = _table(head, read, features)
    figure = out.with_suffix(".html")
    with storage_errors(out):
        _write(out, table, head)
        report("map of the cells")
        _draw(figure, table, head, features)
    return Prediction(table, head, read, features, figure)


def _require_writable(out: Path) -> None:
    if out.is_dir() or out.suffix == ".html":
        raise StorageError(
            "the predictions cannot have this name",
            file=out,
            allowed="a file such as predictions.parquet; the map beside it ends in .html",
        )
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        _part(out).touch()
        _part(out).unlink()


def _head(
    release: Release,
    drug_id: str,
    embedder: Embedder | None,
    heads: Path,
    seed: int,
    report: Report,
) -> tuple[str, Callable[[], TrainedHead]]:
    """Give the head's organism, and what loads the head, or trains and keeps it.

    The user's cells are read in between, since training takes long. The place says
    everything that the head depends on, the version of cellresponse too: a head of another
    version stays where it is, and is not used.
    """
    model = EXPRESSION if embedder is None else f"{embedder.name}-{embedder.weights_hash[:12]}"
    name = f"{release.name}-{release.content_hash[:12]}"
    folder = heads / name / drug_id / f"{model}-seed{seed}-{__version__}"
    if (folder / "card.json").is_file():
        known = load_head(folder)
        return known.card.organism, lambda: known
    task = training_task(release, drug_id, seed=seed)

    def train() -> TrainedHead:
        trained = train_head(release, drug_id, task, embedder, seed=seed, report=report)
        save_head(folder, trained)
        return trained

    return task.organism, train


def _features(
    release: Release, read: UserCells, head: TrainedHead, embedder: Embedder | None
) -> NDArray[np.float32]:
    if embedder is not None:
        return embedder.embed(release, head.card.organism, read.counts, read.barcodes)
    arrays = {
        name.removeprefix("features."): values
        for name, values in head.arrays.items()
        if name.startswith("features.")
    }
    return ExpressionFeatures(arrays)(log_normalise(read.counts))


def _table(head: TrainedHead, read: UserCells, features: NDArray[np.float32]) -> pd.DataFrame:
    probability = head.probability(features)
    distance = head.distance(features)
    return pd.DataFrame(
        {
            "barcode": read.barcodes,
            "drug_id": head.card.drug_id,
            "model": head.card.model,
            "probability": probability,
            "confidence": head.calibrated(probability),
            "call": np.where(probability >= 0.5, "sensitive", "resistant"),
            "counts_mapped": read.mapped,
            "distance": distance,
            "far": distance > head.card.far,
        }
    )


def _write(out: Path, table: pd.DataFrame, head: TrainedHead) -> None:
    from dataclasses import asdict

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({"head": canonical_json(asdict(head.card))})
    pq.write_table(arrow, _part(out))
    _part(out).replace(out)


def _part(out: Path) -> Path:
    return out.with_name(f".{out.name}.part")


def prediction_lines(found: Prediction) -> Iterator[str]:
    """Yield a few lines about predictions and what they rest on."""
    card, table = found.head.card, found.table
    calls = table["call"].value_counts()
    yield (
        f"{len(table):,} cells, {card.drug_id}: {calls.get('sensitive', 0):,} called sensitive, "
        f"{calls.get('resistant', 0):,} resistant"
    )
    yield (
        f"head: {card.model}, trained on {card.n_sensitive:,} sensitive and "
        f"{card.n_resistant:,} resistant cells of {card.release} ({', '.join(card.bases)})"
    )
    for split, metrics in card.metrics.items():
        value = metrics["auroc"]
        shown = "undefined" if value is None else f"{value:.3f}"
        yield f"held out by {split}: AUROC {shown}"
    hardest = card.metrics[card.calibrated_on]["auroc"]
    if hardest is None or hardest < CHANCE:
        yield (
            f"warning: on cells held out by {card.calibrated_on} the head is hardly better than "
            "chance; do not rest on its calls"
        )
    yield (
        f"{found.cells.genes_found:,} of {found.cells.features:,} features are known genes, with "
        f"{table['counts_mapped'].median():.0%} of the counts of a median cell"
    )
    if (far := int(table["far"].sum())) > 0.05 * len(table):
        yield (
            f"warning: {far:,} of {len(table):,} cells lie far from the training cells; "
            "what is said of them is a guess"
        )
    for licence in card.licences:
        yield f"licence: {licence}"


def _draw(
    figure: Path, table: pd.DataFrame, head: TrainedHead, features: NDArray[np.float32]
) -> None:
    import plotly.express as px

    reference = np.asarray(head.arrays["reference"])
    scaled = (np.vstack([reference, features]) - head.arrays["mean"]) / head.arrays["scale"]
    laid = umap(scaled)
    known = len(reference)
    drawing = px.scatter(
        x=laid[known:, 0],
        y=laid[known:, 1],
        color=table["confidence"],
        symbol=table["far"].map({True: "far", False: "near"}),
        range_color=(0, 1),
        color_continuous_scale="RdBu",
        labels={"color": "confidence", "symbol": "training cells"},
        title=f"{head.card.drug_id}: confidence of sensitive; grey: training cells",
    )
    drawing.add_scatter(
        x=laid[:known, 0],
        y=laid[:known, 1],
        mode="markers",
        marker={"color": "lightgrey", "size": 3},
        name="training",
    )
    drawing.data = drawing.data[::-1]
    drawing.update_layout(template="plotly_white", legend_orientation="h")
    drawing.write_html(figure, include_plotlyjs=True)
