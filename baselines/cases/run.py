"""Run a case study: five classifiers, batch correction, AUROC, top genes, figure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.cells import TaskCells
from cellresponse.baselines.benchmark.comparators import COMPARATORS
from cellresponse.baselines.benchmark.expression import ExpressionFeatures, log_normalise
from cellresponse.baselines.benchmark.harmony import corrected
from cellresponse.baselines.benchmark.metrics import score, without_prior
from cellresponse.baselines.benchmark.threads import one_thread
from cellresponse.baselines.cases.case_cells import cells_of_file, cells_of_release
from cellresponse.baselines.cases.recipe import Recipe, get_recipe
from cellresponse.releases.release import Release
from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.storage import storage_errors

__all__ = ["CaseResult", "case_lines", "run_case"]

CLASSIFIERS = ("random_forest", "logistic_regression", "svc", "mlp", "naive_bayes")
BESIDE = ("majority", "batch_only", "line_only", "depth_only")
TOP_GENES = 20


@dataclass(frozen=True)
class CaseResult:
    """What a case study found.

    Attributes
    ----------
    recipe
        The recipe.
    scores
        model, features (`as measured`, `Harmony`), metric, value, undefined, published.
    genes
        gene_id, gene_name, weight: those that speak most for sensitive (positive) and
        resistant (negative) by logistic regression on the training side.
    notes
        What has to be known beside the result: why a study is excluded, what is pooled.
    """

    recipe: Recipe
    scores: pd.DataFrame
    genes: pd.DataFrame
    notes: tuple[str, ...]


def run_case(
    name: str,
    release: Release,
    out: Path,
    *,
    cells: Path | None = None,
    curation: Path,
    organism: str = "human",
    seed: int = 0,
) -> CaseResult:
    """Run a declared case study.

    Parameters
    ----------
    name
        One of `recipes`.
    release
        Gives cells and gene axis.
    out
        Folder for `scores.csv`, `genes.csv`, `case.json` and `case.html`.
    cells
        h5ad file for a recipe that needs studies which no release holds. None: cells of
        the release.
    curation
        Study folders: they say why a study is excluded.
    organism
        Of the file.
    seed
        Of the classifiers.

    Raises
    ------
    ReleaseError
        The release lacks the cells, or a side holds one response only.
    """
    recipe = get_recipe(name)
    notes = list(_exclusions(recipe, curation))
    if cells is None and recipe.studies:
        raise ReleaseError(
            f"the case {name} needs {', '.join(recipe.studies)}, which no release holds",
            hint="Give --cells FILE.h5ad. " + " ".join(notes),
        )
    found = (
        cells_of_release(release, recipe)
        if cells is None
        else cells_of_file(cells, release, recipe, organism)
    )
    folds = list(_folds(recipe, found))
    if len(folds) > 1:
        notes.append(
            f"{recipe.leave_out} left out in turn, {len(folds)} times; predictions are pooled"
        )
    with one_thread():
        scores = _scores(recipe, found, folds, seed)
        genes = _genes(release, found.take(folds[0][0]), organism, seed)
    result = CaseResult(recipe, scores, genes, tuple(notes))
    _write(out, name, result)
    return result


def _exclusions(recipe: Recipe, curation: Path) -> Iterator[str]:
    from cellresponse.curation.study import load_study

    for accession in recipe.studies:
        manifest = load_study(curation / accession).manifest
        if manifest.reason:
            yield f"{accession} is excluded from the gold set: {manifest.reason}"


type _Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


def _folds(recipe: Recipe, cells: TaskCells) -> Iterator[_Fold]:
    training = _side(cells, recipe.train, "train")
    if recipe.test is not None:
        test = _side(cells, recipe.test, "test")
        if np.intersect1d(training, test).size:
            raise ReleaseError("cells are on both sides of the case", value=recipe.title)
        _require_both(cells, training)
        yield training, test
        return
    values = cells.obs[str(recipe.leave_out)].to_numpy(str)
    for value in sorted(set(values[training])):
        kept = training[values[training] != value]
        _require_both(cells, kept)
        yield kept, training[values[training] == value]


def _side(cells: TaskCells, wanted: dict[str, list[str]], side: str) -> NDArray[np.int64]:
    chosen = np.ones(len(cells), bool)
    for column, values in wanted.items():
        chosen &= cells.obs[column].isin(values).to_numpy()
    if not chosen.any():
        raise ReleaseError(
            f"no labelled cell is on the {side} side of the case",
            value=json.dumps(wanted),
            hint="Give a release or a file that holds them",
        )
    return np.flatnonzero(chosen)


def _require_both(cells: TaskCells, rows: NDArray[np.int64]) -> None:
    sensitive = cells.sensitive[rows]
    if sensitive.all() or not sensitive.any():
        raise ReleaseError("the training side holds one response only")


def _scores(recipe: Recipe, cells: TaskCells, folds: list[_Fold], seed: int) -> pd.DataFrame:
    logged = log_normalise(cells.all_counts())
    rows: list[dict[str, Any]] = []
    for features in ("as measured", "Harmony"):
        predicted: dict[str, list[NDArray[Any]]] = {}
        for train, test in folds:
            laid = ExpressionFeatures.fit(logged[train], seed)(logged)
            if features == "Harmony":
                laid = corrected(laid, cells.obs, seed)
            whole = replace(cells, counts=None, features={"expression": laid})
            both = np.concatenate([train, test])
            for model in CLASSIFIERS if features == "Harmony" else (*CLASSIFIERS, *BESIDE):
                found = COMPARATORS[model](whole.take(train), whole.take(both), seed=seed)
                trained, found = found[: len(train)], found[len(train) :]
                ranks = without_prior(found, trained.mean())
                part = np.stack([cells.sensitive[test], found, ranks])
                predicted.setdefault(model, []).append(part)
        for model, parts in predicted.items():
            truth, probability, ranks = np.concatenate(parts, axis=1)
            scored = score(truth.astype(bool), probability, ranks)
            rows += [{"model": model, "features": features, **asdict(one)} for one in scored]
    table = pd.DataFrame(rows)
    known = {(figure.model, figure.metric): figure.value for figure in recipe.published}
    table["published"] = [
        known.get(pair) for pair in zip(table["model"], table["metric"], strict=True)
    ]
    return table


def _genes(release: Release, train: TaskCells, organism: str, seed: int) -> pd.DataFrame:
    """Give genes by their weight in a logistic regression, led back through the components."""
    from sklearn.linear_model import LogisticRegression

    logged = log_normalise(train.all_counts())
    features = ExpressionFeatures.fit(logged, seed)
    fitted = LogisticRegression(max_iter=1000).fit(features(logged), train.sensitive)
    weight = fitted.coef_[0] @ features.arrays["components"]
    order = np.argsort(-np.abs(weight), kind="stable")[:TOP_GENES]
    axis = release.tables["genes"].to_pandas()
    axis = axis[axis["organism"] == organism].set_index("position")
    chosen = axis.loc[features.arrays["genes"][order]]
    return pd.DataFrame(
        {
            "gene_id": chosen["gene_id"].to_numpy(),
            "gene_name": chosen["gene_name"].to_numpy(),
            "weight": weight[order],
        }
    )


def _write(out: Path, name: str, result: CaseResult) -> None:
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        result.scores.to_csv(out / "scores.csv", index=False)
        result.genes.to_csv(out / "genes.csv", index=False)
        facts = {"case": name, "recipe": result.recipe.model_dump(), "notes": result.notes}
        (out / "case.json").write_text(json.dumps(facts, indent=2) + "\n")
        (out / "case.html").write_text(_page(result), encoding="utf-8")


def _page(result: CaseResult) -> str:
    import html

    import plotly.express as px

    shown = result.scores[result.scores["metric"] == "auroc"]
    bars = px.bar(shown, x="model", y="value", color="features", barmode="group", title="AUROC")
    bars.add_hline(y=0.5, line_dash="dot")
    genes = px.bar(result.genes, x="weight", y="gene_name", orientation="h", title="Top genes")
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in result.notes)
    return (
        f"<!doctype html><meta charset='utf-8'><title>{html.escape(result.recipe.title)}</title>"
        f"<h1>{html.escape(result.recipe.title)}</h1>{notes}"
        + bars.to_html(full_html=False, include_plotlyjs=True)
        + genes.to_html(full_html=False, include_plotlyjs=False)
    )


def case_lines(result: CaseResult) -> Iterator[str]:
    """Yield a few lines about a case study."""
    yield result.recipe.title
    yield from (f"note: {note}" for note in result.notes)
    wide = result.scores[result.scores["metric"].isin(["auroc", "accuracy"])]
    yield f"{'model':<22}{'features':<14}{'accuracy':>10}{'AUROC':>10}{'published AUROC':>18}"
    for (features, model), group in wide.groupby(["features", "model"], sort=False):
        values = group.set_index("metric")[["value", "published"]].astype(float)
        shown = [_shown(values["value"][metric]) for metric in ("accuracy", "auroc")]
        published = values["published"]["auroc"]
        told = "" if np.isnan(published) else _shown(published)
        yield f"{model:<22}{features:<14}{shown[0]:>10}{shown[1]:>10}{told:>18}"
    yield "top genes: " + ", ".join(result.genes["gene_name"].head(10))


def _shown(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}"
