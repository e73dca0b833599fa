"""SoMA's layers against the singular value decomposition itself."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmseg_domino.models.adapters.soma import (
    add_soma,
    compose_soma,
    decompose_soma,
    merge_soma,
)


class FusedAttention(nn.Module):
    """Query, key and value in one, with biases kept apart that the layer's forward never sees."""

    def __init__(self, width):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias, self.v_bias = (nn.Parameter(torch.randn(width)) for _ in range(2))
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = F.linear(x, self.qkv.weight, bias).chunk(3, -1)
        return self.proj(F.scaled_dot_product_attention(q, k, v))


class TorchAttention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.heads = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x):
        return self.heads(x, x, x, need_weights=False)[0]


class Block(nn.Module):
    def __init__(self, attention, width=8):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = attention(width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(x)))


@pytest.fixture(params=[FusedAttention, TorchAttention])
def network(request):
    torch.manual_seed(0)
    return nn.Sequential(*(Block(request.param) for _ in range(3))).eval()


@pytest.fixture
def x():
    return torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))


def minor(weight, rank):
    u, s, vh = torch.linalg.svd(weight.double())
    s = s[-rank:]
    return u[:, : weight.shape[1]][:, -rank:] @ torch.diag(s) @ vh[-rank:]


def test_it_starts_as_the_network_and_is_its_smallest_components(network, x):
    before, plain = network(x), copy.deepcopy(network)
    add_soma(network, dict(rank=2, start_block=1))
    assert torch.equal(network(x), before)
    decompose_soma(network)
    torch.testing.assert_close(network(x), before, atol=1e-6, rtol=1e-5)
    layer, original = network[1].fc1, plain[1].fc1.weight
    product = layer.lora_B.weight @ layer.lora_A.weight
    torch.testing.assert_close(product, minor(original, 2).float(), atol=1e-6, rtol=0)
    torch.testing.assert_close(layer._parameters["weight"] + product, original, atol=1e-7, rtol=0)
    # the root of the values is on each side
    torch.testing.assert_close(
        layer.lora_A.weight.norm(dim=1), torch.linalg.svdvals(original)[-2:].sqrt()
    )


def test_fused_layers_are_decomposed_part_by_part():
    torch.manual_seed(0)
    network = nn.Sequential(Block(FusedAttention))
    weight = network[0].attn.qkv.weight.detach().clone()
    add_soma(network, dict(rank=3, start_block=0))
    decompose_soma(network)
    layer = network[0].attn.qkv
    for part, a, b in zip(
        weight.chunk(3), layer.lora_A.weight.chunk(3), layer.lora_B.weight.chunk(3), strict=True
    ):
        torch.testing.assert_close(b @ a, minor(part, 3).float(), atol=1e-6, rtol=0)
    x = torch.randn(4, 8)
    torch.testing.assert_close(layer(x), x @ weight.T, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(layer.weight, weight, atol=1e-6, rtol=0)


def test_adapters_and_biases_from_the_chosen_block_are_trained(network, x):
    trained = add_soma(network, dict(rank=2, start_block=1))
    decompose_soma(network)
    network.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    network(x).square().sum().backward()
    names = {n for n, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert names == {n for n, p in network.named_parameters() if p.requires_grad}
    for one in ("1.fc1.bias", "2.fc2.lora_A.weight", "1.fc2.lora_B.weight"):
        assert one in names
    own = "attn.q_bias" if hasattr(network[1].attn, "qkv") else "attn.heads.in_proj_bias"
    assert f"2.{own}" in names
    assert not any(n.startswith("0.") or "norm" in n for n in names)


def test_merged_it_is_a_plain_network_with_what_was_learnt(network, x):
    plain = copy.deepcopy(network)
    add_soma(network, dict(rank=2, start_block=0))
    decompose_soma(network)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_A" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    learnt = network(x)
    copied = copy.deepcopy(network)
    merge_soma(network)
    torch.testing.assert_close(network(x), learnt, atol=1e-5, rtol=1e-5)
    assert list(network.state_dict()) == list(plain.state_dict())
    assert [type(m) for m in network.modules()] == [type(m) for m in plain.modules()]
    assert torch.equal(copied(x), learnt)  # a copy keeps its own adapters


def test_composed_it_takes_other_weights(network, x):
    other = copy.deepcopy(network)
    add_soma(network, dict(rank=2, start_block=0))
    decompose_soma(network)
    decompose_soma(network)  # once
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.3)
    compose_soma(network)
    network.load_state_dict(other.state_dict(), strict=False)
    decompose_soma(network)
    torch.testing.assert_close(network(x), other(x), atol=1e-5, rtol=1e-5)


def test_alpha_scales_the_product(x):
    torch.manual_seed(0)
    network = nn.Sequential(Block(FusedAttention))
    before = network(x)
    add_soma(network, dict(rank=2, alpha=8, start_block=0))
    decompose_soma(network)
    assert network[0].fc1.scaling == 4
    torch.testing.assert_close(network(x), before, atol=1e-6, rtol=1e-5)


def test_bad_options_are_refused(network):
    with pytest.raises(ValueError, match=r"rank 9 does not fit the layer .*has 8 singular"):
        add_soma(copy.deepcopy(network), dict(rank=9, start_block=0))
    with pytest.raises(ValueError, match="adapts no layer: Sequential has 3 transformer blocks"):
        add_soma(network, {})
    with pytest.raises(ValueError, match="unknown options"):
        add_soma(network, dict(r=2))
    with pytest.raises(ValueError, match="no transformer blocks to adapt"):
        add_soma(nn.Sequential(nn.Linear(3, 3)), {})
