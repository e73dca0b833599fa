"""LoRA against its formula, and its names against those of the network without it."""

import pytest
import torch
from torch import nn

from mmseg_domino.models.adapters.lora import add_lora, lora_parameters, reset_lora, train_lora


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.ModuleDict({"qkv": nn.Linear(4, 12), "proj": nn.Linear(4, 4)})
        self.mlp = nn.Linear(4, 4)
        self.grouped_attention = nn.Conv2d(4, 4, 1, groups=2)

    def forward(self, x):
        q, _, v = self.attn["qkv"](x).chunk(3, dim=-1)
        return self.mlp(self.attn["proj"](q * v))


@pytest.fixture
def block(device):
    torch.manual_seed(0)
    return Block().to(device)


@pytest.fixture
def x(device):
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(1)).to(device)


def test_it_starts_as_nothing_beside_attention_layers(block, x):
    before = block(x)
    assert add_lora(block, {}) == ["attn.qkv", "attn.proj"]  # no grouped convolution, no MLP
    assert torch.equal(block(x), before)


def test_it_is_the_scaled_product_of_two_factors(block, x):
    weight, bias = block.attn["qkv"].weight.clone(), block.attn["qkv"].bias.clone()
    add_lora(block, dict(rank=3, alpha=12, targets="qkv"))
    a, b = lora_parameters(block)
    assert a.shape == (3, 4)
    assert b.shape == (12, 3)
    nn.init.normal_(b)
    torch.testing.assert_close(block.attn["qkv"](x), x @ (weight + 4 * b @ a).T + bias)


def test_names_are_those_without_it(block, x):
    plain = {k: v.clone() for k, v in block.state_dict().items()}
    add_lora(block, {})
    state = block.state_dict()
    assert set(plain) < set(state)
    assert {k for k in state if k not in plain} == {
        f"attn.{layer}.lora_{factor}.default.weight" for layer in ("qkv", "proj") for factor in "AB"
    }
    other = Block().to(x.device)
    add_lora(other, {})
    other.load_state_dict(state)
    assert torch.equal(other(x), block(x))
    missing = other.load_state_dict(plain, strict=False).missing_keys
    assert all(".lora_" in key for key in missing)
    assert len(missing) == 4


def test_reset_makes_the_product_zero_again(block, x):
    before = block(x)
    add_lora(block, {})
    for parameter in lora_parameters(block):
        nn.init.normal_(parameter)
    assert not torch.allclose(block(x), before)
    reset_lora(block)
    assert torch.equal(block(x), before)


def test_only_the_adapters_dropout_is_switched(block):
    add_lora(block, dict(dropout=0.5))
    block.eval()
    train_lora(block, True)
    switched = {n for n, m in block.named_modules() if m.training}
    assert switched
    assert all("lora_dropout" in name for name in switched)
    train_lora(block, False)
    assert not any(m.training for m in block.modules())


def test_what_it_cannot_do_is_refused(block):
    with pytest.raises(ValueError, match=r"unknown options \['r'\] in `adapter`; valid: rank"):
        add_lora(block, dict(r=4))
    with pytest.raises(ValueError, match="the adapter's targets 'conv' fit none of the"):
        add_lora(block, dict(targets="conv"))
