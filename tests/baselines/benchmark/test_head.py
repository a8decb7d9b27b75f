"""The head has the published shape, learns, and repeats itself by seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cellresponse.baselines.benchmark.head import (
    Head,
    HeadOptions,
    class_weights,
    fit_head,
    loss_of,
    predict_head,
)


def clouds(seed=0, cells=300, share=0.5):
    rng = np.random.default_rng(seed)
    sensitive = rng.random(cells) < share
    features = rng.normal(size=(cells, 8)).astype(np.float32)
    features[:, 0] += 3 * sensitive
    return features, sensitive


def test_published_shape():
    shapes = [tuple(p.shape) for p in Head(20, 2).parameters()]
    assert shapes == [(512, 20), (512,), (512, 512), (512,), (2, 512), (2,)]


@pytest.mark.parametrize("outputs", [1, 2])
def test_learns_what_is_there(outputs):
    features, sensitive = clouds()
    head = fit_head(features, sensitive, seed=1, options=HeadOptions(outputs=outputs, epochs=20))
    called = predict_head(head, features) >= 0.5
    assert (called == sensitive).mean() > 0.9


def test_same_seed_same_bits_other_seed_others():
    features, sensitive = clouds()
    before = torch.random.get_rng_state()
    first, again, other = (
        predict_head(fit_head(features, sensitive, seed=s), features) for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4
    assert torch.equal(before, torch.random.get_rng_state())


def test_early_stopping_ends_training_before_its_last_epoch():
    features, sensitive = clouds()
    labels = np.random.default_rng(5).permutation(sensitive)  # nothing to learn
    slow = HeadOptions(epochs=60, learning_rate=1e-2, patience=1)
    full = HeadOptions(epochs=60, learning_rate=1e-2)
    stopped = predict_head(fit_head(features, labels, seed=0, options=slow), features)
    trained = predict_head(fit_head(features, labels, seed=0, options=full), features)
    assert ((trained >= 0.5) == labels).mean() > ((stopped >= 0.5) == labels).mean() + 0.1


def test_weights_make_classes_equal():
    sensitive = torch.tensor([True, False, False, False])
    weights = class_weights(sensitive)
    assert weights.mean() == pytest.approx(1)
    assert weights[sensitive].sum() == pytest.approx(float(weights[~sensitive].sum()))


def test_two_logits_are_held_against_a_one_hot_label():
    logits = torch.tensor([[2.0, -1.0]])
    got = loss_of(logits, torch.tensor([False]), None)
    expected = (np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))) / 2
    assert float(got) == pytest.approx(expected)
