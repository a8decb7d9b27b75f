from __future__ import annotations

import pytest
import torch
from torch import nn

from cellresponse.baselines.models.parts.encoder import (
    CALLED_PROJECTIONS,
    EncoderLayer,
    split_projections,
)

WIDTH, HEADS, FEEDFORWARD = 24, 4, 40


@pytest.fixture
def layers() -> tuple[EncoderLayer, nn.TransformerEncoderLayer]:
    torch.manual_seed(3)
    theirs = nn.TransformerEncoderLayer(WIDTH, HEADS, FEEDFORWARD, 0.1, batch_first=True)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = EncoderLayer(WIDTH, HEADS, FEEDFORWARD, 0.1)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours.eval(), theirs.eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(3, 7, WIDTH, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def real() -> torch.Tensor:
    return torch.arange(7) < torch.tensor([7, 4, 1])[:, None]


def test_equals_torch_without_mask(layers, x):
    ours, theirs = layers
    torch.testing.assert_close(ours(x), theirs(x))


def test_equals_torch_with_boolean_mask(layers, x, real):
    ours, theirs = layers
    with torch.no_grad():
        expected = theirs(x, src_key_padding_mask=~real)
        torch.testing.assert_close(ours(x, real)[real], expected[real])


def test_equals_torch_with_float_mask(layers, x, real):
    ours, theirs = layers
    added = 1.0 - real.float()
    torch.testing.assert_close(ours(x, added), theirs(x, src_key_padding_mask=added))


def test_padding_changes_nothing(layers, x, real):
    ours, _ = layers
    torch.testing.assert_close(ours(x, real)[1, :4], ours(x[1:2, :4])[0])


def test_split_projections_keep_the_output(layers, x, real):
    ours, _ = layers
    before = ours(x, real)
    split_projections(ours)
    split_projections(ours)  # a second call has nothing left to do
    torch.testing.assert_close(ours(x, real), before)
    names = [name for name, _ in ours.named_modules()]
    assert all(name in names for name in CALLED_PROJECTIONS)
    assert not any(name.startswith("self_attn.in_proj") for name in ours.state_dict())


@pytest.mark.parametrize(("split", "called"), [(False, 0), (True, 1)])
def test_output_projection_is_called_only_after_the_split(layers, x, split, called):
    ours, _ = layers
    if split:
        split_projections(ours)
    calls: list[object] = []
    ours.self_attn.out_proj.register_forward_hook(lambda *call: calls.append(call))
    ours(x)
    assert len(calls) == called


def test_dropout_only_in_training(layers, x):
    ours, _ = layers
    torch.testing.assert_close(ours(x), ours(x), rtol=0, atol=0)
    ours.train()
    torch.manual_seed(0)
    assert not torch.equal(ours(x), ours(x))
