"""Pandera models of the benchmark's results, the addendum of a release."""

from __future__ import annotations

import pandera.pandas as pr

from cellresponse.schema.tables import Int, Real, Text
from cellresponse.schema.tracks import SPLITS, TRACKS

__all__ = ["Predictions", "Results"]

SHA256 = r"^[0-9a-f]{64}$"


class _Table(pr.DataFrameModel):
    class Config:
        strict = True
        ordered = True


class Results(_Table):
    """One row a metric of one model in one fold of one task, or over its folds."""

    release_hash: Text = pr.Field(str_matches=SHA256, description="Content hash of the release")
    code_version: Text = pr.Field(description="Version of cellresponse that wrote the row")
    task: Text = pr.Field(description="Task of the release")
    track: Text = pr.Field(isin=list(TRACKS), description="Track")
    by: Text = pr.Field(description="Kind of category: tissue, drug_class, ...")
    category: Text = pr.Field(description="Category")
    drug_id: Text = pr.Field(nullable=True, description="Treatment; null: several, one a cell")
    basis: Text = pr.Field(description="Bases of the task's labels, separated by `;`")
    split: Text = pr.Field(
        isin=[*SPLITS, "as-published"], description="What lies on one side of a fold only"
    )
    fold: Text = pr.Field(description="Fold; `pooled`: over the predictions of all folds")
    unit: Text = pr.Field(isin=["cell", "sample"], description="What is scored")
    seed: Int = pr.Field(ge=0, description="Seed of model and training")
    model: Text = pr.Field(description="Model or comparator")
    weights_hash: Text = pr.Field(
        nullable=True, description="sha256 of weights, submission or answers; null: none"
    )
    strategy: Text = pr.Field(  # type: ignore[assignment] # Pandera has a method of that name
        isin=["comparator", "frozen", "lora", "prompt", "submitted"],
        description="How it was trained",
    )
    options: Text = pr.Field(description="Other options, JSON with sorted keys")
    n_train: Int = pr.Field(ge=0, description="Training cells")
    n_test: Int = pr.Field(ge=0, description="Test cells")
    n_train_sensitive: Int = pr.Field(ge=0, description="Sensitive training cells")
    n_test_sensitive: Int = pr.Field(ge=0, description="Sensitive test cells")
    metric: Text = pr.Field(description="Metric")
    value: Real = pr.Field(nullable=True, description="Value; null: undefined")
    low: Real = pr.Field(nullable=True, description="2.5 % point, samples drawn anew; null: none")
    high: Real = pr.Field(nullable=True, description="97.5 % point")
    undefined: Text = pr.Field(nullable=True, description="Why there is no value")


class Predictions(_Table):
    """One row a test cell of one fold, as predicted by one model."""

    task: Text = pr.Field(description="Task of the release")
    track: Text = pr.Field(isin=list(TRACKS), description="Track")
    split: Text = pr.Field(
        isin=[*SPLITS, "as-published"], description="What lies on one side of a fold only"
    )
    fold: Text = pr.Field(description="Fold")
    seed: Int = pr.Field(ge=0, description="Seed of model and training")
    model: Text = pr.Field(description="Model or comparator")
    strategy: Text = pr.Field(  # type: ignore[assignment] # Pandera has a method of that name
        description="How it was trained"
    )
    cell_id: Text = pr.Field(description="Cell; with `#drug` where a fault copies cells")
    sample_id: Text = pr.Field(description="Sample of the cell")
    response: Text = pr.Field(isin=["sensitive", "resistant"], description="Label")
    probability: Real = pr.Field(ge=0, le=1, description="Predicted probability of sensitive")
