"""A map is laid out once for what made its embeddings, whatever files they lie in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellresponse.baselines.report import maps
from cellresponse.baselines.report.figures import figures
from cellresponse.baselines.report.maps import embedding_maps, umap

DIGEST, OTHER = "a" * 64, "b" * 64
VALUES = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
IDS = [f"cell-{place:02}" for place in range(30)]
KNOWN = pd.DataFrame(
    {"cell_id": IDS, "cancer_type": "x", "response": "sensitive", "study_id": "SYNTHETIC-1"}
)

NO_RESULTS = pd.DataFrame(
    columns=[
        *("track", "by", "task", "basis", "split", "setting", "model", "contender"),
        *("metric", "mean", "pooled"),
    ]
)


def write(path: Path, places: range, digest: str = DIGEST, *, as_published: bool = False) -> None:
    """Embeddings of some cells, in the given order, as a run of some tasks leaves them."""
    facts = {
        "model": "tgpt@random",
        "weights_hash": digest,
        "cells": len(places),
        "options": {"as_published": as_published},
    }
    flat = pa.array(VALUES[list(places)].reshape(-1))
    columns = {
        "cell_id": [IDS[place] for place in places],
        "embedding": pa.FixedSizeListArray.from_arrays(flat, VALUES.shape[1]),
    }
    metadata = {b"cellresponse": json.dumps(facts).encode()}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two numbers of an embedding are its place."""
    monkeypatch.setattr(maps, "umap", lambda values: values[:, :2])


def test_files_of_one_model_are_one_map(tmp_path: Path) -> None:
    write(tmp_path / "one.parquet", range(19, -1, -1))
    write(tmp_path / "two.parquet", range(10, 30))
    found = embedding_maps(tmp_path, KNOWN)
    assert found["cell_id"].tolist() == IDS
    assert set(found["model"]) == {"tgpt@random"}
    np.testing.assert_array_equal(found[["x", "y"]], umap(VALUES))


def test_a_map_has_the_smallest_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: None
) -> None:
    monkeypatch.setattr(maps, "MOST_CELLS", 12)
    write(tmp_path / "one.parquet", range(29, 4, -1))
    write(tmp_path / "two.parquet", range(10))
    found = embedding_maps(tmp_path, KNOWN)
    assert found["cell_id"].tolist() == IDS[:12]
    np.testing.assert_array_equal(found[["x", "y"]], VALUES[:12, :2])


def test_few_cells_of_several_files_are_a_map(tmp_path: Path, plain: None) -> None:
    write(tmp_path / "one.parquet", range(2))
    assert embedding_maps(tmp_path, KNOWN).empty
    write(tmp_path / "two.parquet", range(2, 4))
    assert embedding_maps(tmp_path, KNOWN)["cell_id"].tolist() == IDS[:4]


def test_what_differs_has_a_map_and_a_name_of_its_own(tmp_path: Path, plain: None) -> None:
    write(tmp_path / "one.parquet", range(5))
    write(tmp_path / "two.parquet", range(6), as_published=True)
    assert sizes(tmp_path) == {"tgpt@random": 5, "tgpt@random (as published)": 6}
    write(tmp_path / "three.parquet", range(7), OTHER)
    assert sizes(tmp_path) == {
        "tgpt@random (weights aaaaaaaa)": 5,
        "tgpt@random (as published, weights aaaaaaaa)": 6,
        "tgpt@random (weights bbbbbbbb)": 7,
    }


def sizes(folder: Path) -> dict[str, int]:
    return embedding_maps(folder, KNOWN)["model"].value_counts().to_dict()


def test_each_map_is_a_figure_with_a_plain_file_name(tmp_path: Path, plain: None) -> None:
    write(tmp_path / "one.parquet", range(5))
    write(tmp_path / "two.parquet", range(6), OTHER, as_published=True)
    drawn = list(figures(NO_RESULTS, embedding_maps(tmp_path, KNOWN), pd.DataFrame()))
    assert {figure.name: len(figure.table) for figure in drawn} == {
        f"map-tgpt-random-{made}-{colour}": cells
        for made, cells in (("weights-aaaaaaaa", 5), ("as-published-weights-bbbbbbbb", 6))
        for colour in ("cancer_type", "response", "study_id")
    }
