"""The head has the published shape, learns, and repeats itself by seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cellresponse.baselines.benchmark.head import (
    Head,
    HeadOptions,
    _hold_out,
    class_weights,
    fit_head,
    loss_of,
    make_head,
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


def test_the_papers_training_is_the_default():
    assert HeadOptions() == HeadOptions(
        epochs=10,
        batch_size=128,
        learning_rate=1e-4,
        weight_decay=0.01,
        outputs=1,
        class_weight=False,
        patience=None,
    )


@pytest.mark.parametrize("class_weight", [False, True])
def test_training_is_plain_adamw_over_mixed_batches(class_weight):
    features, sensitive = clouds(cells=100, share=0.2)
    options = HeadOptions(
        epochs=2, batch_size=40, learning_rate=1e-2, weight_decay=0.5, class_weight=class_weight
    )
    x, y = torch.tensor(features), torch.tensor(sensitive)
    weights = class_weights(y) if class_weight else torch.ones(100)
    head, order = make_head(8, options, 5), torch.Generator().manual_seed(5)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-2, weight_decay=0.5)
    for _ in range(2):
        for rows in torch.randperm(100, generator=order).split(40):
            optimiser.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                head(x[rows])[:, 0], y[rows].float(), weight=weights[rows]
            )
            loss.backward()
            optimiser.step()
    found = predict_head(fit_head(features, sensitive, seed=5, options=options), features)
    np.testing.assert_allclose(found, predict_head(head, features), rtol=1e-5)


def test_what_is_held_out_is_not_trained_on():
    fitted, held = _hold_out(50, HeadOptions(patience=1), torch.Generator().manual_seed(0))
    assert (len(fitted), len(held)) == (45, 5)
    assert sorted([*fitted.tolist(), *held.tolist()]) == list(range(50))


def test_two_logits_share_the_probability():
    head, x = Head(3, 2), torch.randn(4, 3)
    torch.testing.assert_close(head.probability(x), torch.softmax(head(x), 1)[:, 1])
