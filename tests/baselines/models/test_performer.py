from __future__ import annotations

import pytest
import torch

from cellresponse.baselines.models.parts.kernel_attention import FastAttention
from cellresponse.baselines.models.parts.performer import Performer, PerformerEncoder


@pytest.fixture
def network() -> Performer:
    torch.manual_seed(0)
    return Performer(16, 2, 2, 8, 20, bias=False).eval()


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_features_are_float32_under_autocast(network):
    x = drawn(2, 9, 16)
    full = network(x)
    seen = []
    network.net.layers[0][0].fn.fast_attention.register_forward_hook(
        lambda module, inputs, output: seen.append((inputs[0].dtype, output.dtype))
    )
    with torch.autocast("cpu", torch.bfloat16):
        half = network(x)
    assert seen == [(torch.bfloat16, torch.bfloat16)]
    assert (half - full).norm() < 0.02 * full.norm()


def test_the_maximum_is_shared_by_all_layers_or_none(network):
    kernels = [module for module in network.modules() if isinstance(module, FastAttention)]
    assert [kernel.shared_maximum for kernel in kernels] == [False, False]
    network.share_maximum(True)
    assert [kernel.shared_maximum for kernel in kernels] == [True, True]


def test_padding_without_weight_changes_nothing(network):
    x = drawn(2, 9, 16)
    real = (torch.arange(9) < torch.tensor([9, 4])[:, None]).float()
    together = network(x, real, real)
    torch.testing.assert_close(together[1, :4], network(x[1:, :4])[0])
    torch.testing.assert_close(together[:1], network(x[:1]))


def test_a_position_without_value_counts_in_the_denominator(network):
    x = drawn(1, 6, 16)
    valued = torch.ones(1, 6)
    valued[0, -1] = 0
    counted = network(x, None, valued)[0, :-1]
    left_out = network(x, valued, valued)[0, :-1]
    assert (counted - left_out).abs().max() > 1e-4


def test_encoder_adds_gene_and_value_vectors():
    torch.manual_seed(0)
    encoder = PerformerEncoder(4, 10, width=16, depth=1, heads=2, head_width=8).eval()
    tokens, positions = torch.tensor([[1, 3, 0]]), torch.tensor([2, 9, 4])
    vectors = encoder.token_emb.weight[[1, 3, 0]] + encoder.pos_emb.emb.weight[positions]
    expected = encoder.norm(encoder.performer(vectors[None]))
    torch.testing.assert_close(encoder(tokens, positions), expected)
