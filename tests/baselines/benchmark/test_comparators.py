"""Each comparator uses what its name says and nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellresponse.baselines.benchmark import expression
from cellresponse.baselines.benchmark.cells import TaskCells
from cellresponse.baselines.benchmark.comparators import COMPARATORS, NEEDS_EXPRESSION
from cellresponse.baselines.benchmark.expression import (
    ExpressionFeatures,
    highly_variable,
    log_normalise,
)
from cellresponse.baselines.benchmark.threads import one_thread
from cellresponse.schema.errors import ReleaseError


@pytest.fixture(autouse=True)
def _threads():
    """As the benchmark runs them; numba, below scanpy, gives the process another number."""
    with one_thread():
        yield


def make(seed, cells=120, confounded=True):
    rng = np.random.default_rng(seed)
    sensitive = np.arange(cells) % 2 == 0
    batch = np.where(sensitive if confounded else rng.random(cells) < 0.5, "b1", "b2")
    counts = rng.poisson(1.0, size=(cells, 400))
    counts[sensitive, :20] += rng.poisson(4.0, size=(sensitive.sum(), 20))
    obs = pd.DataFrame(
        {
            "cell_id": [f"{seed}-{i}" for i in range(cells)],
            "study_id": "S",
            "sample_id": batch,
            "batch": batch,
            "cell_line": np.where(rng.random(cells) < 0.5, "A", "B"),
            "n_counts": counts.sum(axis=1),
        }
    )
    return TaskCells(obs, sensitive, sp.csr_matrix(counts))


def with_features(train, test, seed=0):
    logged = log_normalise(train.counts)
    features = ExpressionFeatures.fit(logged, seed)
    train.features["expression"] = features(logged)
    test.features["expression"] = features(log_normalise(test.counts))
    return train, test


def accuracy(name, train, test):
    called = COMPARATORS[name](train, test, seed=0) >= 0.5
    return (called == test.sensitive).mean()


@pytest.mark.parametrize("name", sorted(NEEDS_EXPRESSION))
def test_those_on_expression_find_a_programme(name):
    train, test = with_features(make(1, 240), make(2, 240))
    assert accuracy(name, train, test) > 0.85
    train.obs["batch"] = "other"
    assert accuracy(name, train, test) > 0.85


def test_batch_only_scores_confounding_alone():
    assert accuracy("batch_only", make(1), make(2)) == 1.0
    assert accuracy("batch_only", make(1, confounded=False), make(2, confounded=False)) < 0.7


def test_an_unseen_value_gets_the_overall_share():
    train, test = make(1), make(2)
    test.obs["cell_line"] = "never seen"
    assert set(COMPARATORS["line_only"](train, test, seed=0)) == {train.sensitive.mean()}


def test_majority_and_depth():
    train, test = make(1), make(2)
    assert set(COMPARATORS["majority"](train, test, seed=0)) == {0.5}
    assert accuracy("depth_only", train, test) > 0.9  # the programme adds counts
    train.obs["n_counts"] = 5
    test.obs["n_counts"] = 5
    assert np.ptp(COMPARATORS["depth_only"](train, test, seed=0)) == 0


@pytest.mark.parametrize("name", sorted(COMPARATORS))
def test_same_seed_same_bits(name):
    train, test = with_features(make(1), make(2))
    first, again = (COMPARATORS[name](train, test, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert ((first >= 0) & (first <= 1)).all()


@pytest.mark.parametrize("response", ["sensitive", "resistant"])
def test_support_vectors_need_three_cells_of_each_response(response):
    train, test = with_features(make(1), make(2))
    rare = train.sensitive == (response == "sensitive")
    some = train.take(np.r_[np.flatnonzero(rare)[:2], np.flatnonzero(~rare)])
    with pytest.raises(ReleaseError, match=f"too few {response} cells to train on 2.*Allowed: 3"):
        COMPARATORS["svc"](some, test, seed=0)
    enough = train.take(np.r_[np.flatnonzero(rare)[:3], np.flatnonzero(~rare)])
    assert len(COMPARATORS["svc"](enough, test, seed=0)) == len(test)


def test_features_are_chosen_without_the_test_side():
    train, test = make(1), make(2)
    test.counts[:, 300:] *= 50
    train, test = with_features(train, test)
    other = make(3)
    train_again, _ = with_features(make(1), other)
    np.testing.assert_array_equal(train.features["expression"], train_again.features["expression"])


def test_normalised_cells_have_ten_thousand_counts():
    logged = log_normalise(make(1).counts)
    np.testing.assert_allclose(np.expm1(logged.toarray()).sum(axis=1), 1e4, rtol=1e-3)


def test_rare_genes_are_no_features():
    counts = make(1).counts.tolil()
    counts[:, 5] = 0
    counts[0, 5] = 9
    assert 5 not in highly_variable(log_normalise(counts.tocsr()))


def test_the_test_side_tells_no_share():
    train = make(1).take(np.r_[0:120:2, 1:40:2])  # 60 sensitive, 20 resistant
    test = make(2).take(np.arange(1, 60, 2))  # resistant only
    assert set(COMPARATORS["majority"](train, test, seed=0)) == {0.75}
    test.obs["cell_line"] = test.obs["batch"] = "never seen"
    for name in ("line_only", "batch_only"):
        assert set(COMPARATORS[name](train, test, seed=0)) == {0.75}


def test_batches_of_two_studies_are_two_though_named_alike():
    train, test = make(1), make(2)
    for side in (train, test):
        side.obs["study_id"] = np.where(side.sensitive, "S", "T")
        side.obs["batch"] = "one"
    assert accuracy("batch_only", train, test) == 1.0


def test_a_hundred_trees():
    found = COMPARATORS["random_forest"](*with_features(make(1), make(2)), seed=0)
    votes = found * 100
    np.testing.assert_allclose(votes, votes.round(), atol=1e-9)
    assert (votes.round() % 10).any()


def test_at_most_fifty_components_of_genes_seen_in_one_cell_of_a_hundred(monkeypatch):
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (400, 120))
    counts[:, 7] = 0
    counts[:3, 7] = 5
    logged = log_normalise(sp.csr_matrix(counts))
    assert 7 not in highly_variable(logged)
    assert ExpressionFeatures.fit(logged, 0)(logged).shape == (400, 50)
    monkeypatch.setattr(expression, "GENES", 30)
    assert len(highly_variable(logged)) == 30


def test_an_outlying_value_is_cut_at_ten_standard_deviations():
    one = np.ones(1, np.float32)
    arrays = {"genes": np.array([0]), "mean": 0 * one, "scale": one, "centre": 0 * one}
    features = ExpressionFeatures({**arrays, "components": one[:, None]})
    assert features(sp.csr_matrix([[50.0], [3.0]])).ravel().tolist() == [10, 3]
