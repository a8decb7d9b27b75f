from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cellresponse.baselines.models.parts import kernel_attention
from cellresponse.baselines.models.parts.kernel_attention import (
    EPS,
    FastAttention,
    random_projection,
)

CELLS, HEADS, LENGTH, WIDTH, FEATURES = 3, 2, 11, 8, 20


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def attention() -> FastAttention:
    torch.manual_seed(0)
    return FastAttention(WIDTH, FEATURES)


@pytest.fixture
def qkv() -> tuple[Tensor, Tensor, Tensor]:
    shape = (CELLS, HEADS, LENGTH, WIDTH)
    return drawn(*shape, seed=1, scale=2), drawn(*shape, seed=2, scale=2), drawn(*shape, seed=3)


def plain(q: Tensor, k: Tensor, v: Tensor, projection: Tensor, *, shared: bool) -> Tensor:
    """The formula of the head of kernel_attention.py, all features at once, in float64."""
    q, k, v, projection = (x.double() for x in (q, k, v, projection))

    def exponents(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x / x.shape[-1] ** 0.25
        return x @ projection.T, (x**2).sum(-1, keepdim=True) / 2

    product, half = exponents(q)
    phi_q = (product - half - product.detach().amax(-1, keepdim=True)).exp() + EPS
    product, half = exponents(k)
    over = (0, 1, 2, 3) if shared else (1, 2, 3)
    largest = product.detach().amax(over, keepdim=True)  # a constant, as far as gradients go
    phi_k = (product - half - largest).exp() + EPS
    pairs = phi_q @ phi_k.transpose(2, 3)  # (cells, heads, queries, keys)
    return (pairs @ v) / pairs.sum(-1, keepdim=True)


@pytest.mark.parametrize("shared", [False, True])
def test_is_the_formula(attention, qkv, shared):
    attention.shared_maximum = shared
    expected = plain(*qkv, attention.projection_matrix, shared=shared)
    torch.testing.assert_close(attention(*qkv, None), expected.float())


@pytest.mark.parametrize("shared", [False, True])
def test_blocks_change_nothing(attention, qkv, shared, monkeypatch):
    attention.shared_maximum = shared
    q, k, v = (torch.cat([x] * 30, 2) for x in qkv)  # 330 positions: six blocks of 64
    whole = attention(q, k, v, None)
    monkeypatch.setattr(kernel_attention, "BLOCK", {"cpu": 1, "other": 1})
    torch.testing.assert_close(attention(q, k, v, None), whole)


def test_with_many_features_is_softmax_attention(monkeypatch):
    monkeypatch.setattr(kernel_attention, "EPS", 0.0)
    torch.manual_seed(0)
    attention = FastAttention(4, 20_000)
    q, k, v = (drawn(1, 1, 6, 4, seed=seed, scale=0.5) for seed in (1, 2, 3))
    exact = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert (attention(q, k, v, None) - exact).abs().max() < 0.03 * exact.abs().max()


def test_a_weight_stands_for_so_many_equal_keys(attention, qkv):
    q, k, v = qkv
    v = v.clone()
    v[:, :, -1] = 0  # the last key adds no value
    weight = torch.ones(CELLS, LENGTH)
    weight[:, -1] = 5
    repeated = (torch.cat([x, x[:, :, -1:].expand(-1, -1, 4, -1)], 2) for x in (k, v))
    expected = attention(q, *repeated, None)
    torch.testing.assert_close(attention(q, k, v, weight), expected)


def test_weight_zero_is_no_key(attention, qkv, monkeypatch):
    q, k, v = qkv
    length = torch.tensor([11, 7, 2])
    real = torch.arange(LENGTH) < length[:, None]
    k = torch.where(real[:, None, :, None], k, 50.0)  # would be the maximum by far
    v = v * real[:, None, :, None]
    together = attention(q, k, v, real.float())
    monkeypatch.setattr(kernel_attention, "BLOCK", {"cpu": 1, "other": 1})
    for row, n in enumerate(length.tolist()):
        alone = attention(q[[row], :, :n], k[[row], :, :n], v[[row], :, :n], None)
        torch.testing.assert_close(together[row, :, :n], alone[0])


def test_a_block_without_any_key_of_a_cell(attention, qkv, monkeypatch):
    q, k, v = (torch.cat([x] * 12, 2) for x in qkv)  # 132 positions
    real = (torch.arange(132) < torch.tensor([132, 3, 70])[:, None]).float()
    v = v * real[:, None, :, None]
    whole = attention(q, k, v, real)
    monkeypatch.setattr(kernel_attention, "BLOCK", {"cpu": 1, "other": 1})
    torch.testing.assert_close(attention(q, k, v, real), whole)


def test_own_maximum_keeps_cells_apart_and_the_shared_one_does_not(attention, qkv):
    q, k, v = qkv
    k = k * torch.tensor([1.0, 0.1, 2.0])[:, None, None, None]
    for shared in (False, True):
        attention.shared_maximum = shared
        alone = attention(q[1:2], k[1:2], v[1:2], None)
        difference = (attention(q, k, v, None)[1:2] - alone).abs().max()
        assert (difference > 1e-3) == shared


def test_gradients_are_those_of_the_formula(attention, qkv):
    ours = [x.clone().requires_grad_() for x in qkv]
    theirs = [x.clone().requires_grad_() for x in qkv]
    direction = drawn(*qkv[0].shape, seed=9)
    (attention(*ours, None) * direction).sum().backward()
    expected = plain(*theirs, attention.projection_matrix, shared=False)
    (expected * direction).sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_projection_rows_are_orthogonal_within_a_block():
    torch.manual_seed(0)
    drawn_rows = random_projection(20, WIDTH)
    assert drawn_rows.shape == (20, WIDTH)
    products = drawn_rows[:WIDTH] @ drawn_rows[:WIDTH].T
    off_diagonal = products - torch.diag(products.diagonal())
    assert off_diagonal.abs().max() < 1e-4
    assert products.diagonal().min() > 0.1
