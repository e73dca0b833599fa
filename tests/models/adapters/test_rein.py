"""Rein's tokens, on networks of one and of several widths."""

import copy

import pytest
import torch
from mmseg.registry import MODELS
from torch import nn

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.models.adapters.rein import add_rein

from .originals import DINOV2, queries, random_rein, refine

OPTIONS = dict(token_length=5, rank=2)
MIT = dict(
    type="MixVisionTransformer", embed_dims=8, num_stages=2, num_layers=[2, 1], num_heads=[1, 2],
    patch_sizes=[7, 3], sr_ratios=[8, 4], out_indices=(0, 1), strides=(4, 2), drop_path_rate=0.0,
)  # fmt: skip


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), nn.Identity()

    def forward(self, x):
        return x * 2


def test_each_block_is_refined_by_its_own_tokens_but_for_the_prefix():
    width, tokens = DINOV2["embed_dim"], 6
    network = nn.Sequential(*(Block(width) for _ in range(4)))
    rein = add_rein(network, dict(token_length=tokens, rank=3, link_token_to_query=True,
                                  query_dims=10, prefix_tokens=2))  # fmt: skip
    state = random_rein(DINOV2, tokens, 3, 10)
    rein.load_state_dict({k.removeprefix("reins."): v for k, v in state.items()})
    x = torch.randn(2, 7, width)
    expected = x
    for i in range(4):
        expected = expected * 2
        expected = torch.cat([expected[:, :2], refine(state, i, expected[:, 2:])], dim=1)
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rein.queries(), queries(state))
    assert not any("rein" in name for name in network.state_dict())


def test_it_starts_close_to_the_network_and_learns_everywhere():
    torch.manual_seed(0)
    network = nn.Sequential(*(Block(8) for _ in range(3)))
    x = torch.randn(2, 4, 8)
    plain = network(x)
    rein = add_rein(network, OPTIONS)
    difference = (network(x) - plain).abs().max() / plain.abs().max()
    assert 0 < difference < 0.01
    network(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in rein.parameters())
    assert rein.learnable_tokens_a.grad.flatten(1).any(dim=1).all()


def test_a_copy_has_tokens_of_its_own():
    network = nn.Sequential(Block(8))
    both = nn.ModuleDict({"network": network, "reins": add_rein(network, OPTIONS)})
    x = torch.randn(1, 3, 8)
    twin = copy.deepcopy(both)
    before = both["network"](x)
    with torch.no_grad():
        twin["reins"].mlp_delta_f.bias.add_(1000)
    assert torch.equal(both["network"](x), before)
    assert not torch.allclose(twin["network"](x), before, atol=0.1)


def test_tokens_without_factors_and_grids_with_channels_last():
    network = nn.Sequential(Block(8))
    rein = add_rein(network, dict(token_length=4, rank=None))
    assert rein.learnable_tokens.shape == (1, 4, 8)
    grid = torch.randn(2, 3, 5, 8)
    whole = network(grid)
    assert whole.shape == grid.shape
    torch.testing.assert_close(whole.flatten(1, 2), network(grid.flatten(1, 2)))


def test_a_network_of_several_widths_has_tokens_for_each_and_one_set_of_queries():
    torch.manual_seed(0)
    backbone = MODELS.build(
        dict(
            type="DominoBackbone", backbone=MIT, domain_channels=1, injection="none", tune="rein",
            adapter=dict(OPTIONS, link_token_to_query=True, query_dims=6),
        )
    )  # fmt: skip
    assert backbone.reins.width_8.learnable_tokens_a.shape == (2, 5, 2)
    assert backbone.reins.width_16.learnable_tokens_b.shape == (1, 2, 16)
    first, second, linked = backbone(torch.randn(1, 3, 32, 64))
    assert (first.shape, second.shape, linked.shape) == ((1, 8, 8, 16), (1, 16, 4, 8), (5, 6))
    (first.sum() + second.sum() + linked.square().sum()).backward()
    trained = {n for n, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {n for n, p in backbone.named_parameters() if p.grad is not None}
    assert all(n.startswith("reins.") for n in trained)


def test_bad_options_are_refused():
    network = nn.Sequential(Block(8))
    with pytest.raises(ValueError, match="unknown options"):
        add_rein(network, dict(tokens=3))
    with pytest.raises(ValueError, match="at least 2 tokens"):
        add_rein(network, dict(token_length=1))
    with pytest.raises(ValueError, match=r"no transformer blocks to adapt.*'layer' fits none"):
        add_rein(network, dict(blocks="layer"))
