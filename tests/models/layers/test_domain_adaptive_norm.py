"""The adaptive layer against the stock layer that it holds."""

import copy

import pytest
import torch
from torch import nn

from mmseg_domino.models.layers import DomainAdaptiveNorm
from mmseg_domino.models.layers.domain_adaptive_norm import DomainState, is_norm
from mmseg_domino.models.layers.level_norms import LayerNorm2d

B, C = 3, 8
NORMS = {
    "group": lambda: nn.GroupNorm(4, C),
    "layer": lambda: nn.LayerNorm(C),
    "layer 2d": lambda: LayerNorm2d(C),
    "batch": lambda: nn.BatchNorm2d(C),
    "instance": lambda: nn.InstanceNorm2d(C, affine=True),
    "rms": lambda: nn.RMSNorm(C),
}
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def make(kind, device="cpu"):
    """A layer with parameters that show, its adaptive twin, and a function for inputs."""
    torch.manual_seed(0)
    norm = NORMS[kind]()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    adaptive = DomainAdaptiveNorm(copy.deepcopy(norm), DomainState(), 2, kind)
    return norm.to(device), adaptive.to(device)


def features(kind, size=37, device="cpu"):
    torch.manual_seed(1)
    shape = (B, size * size, C) if kind in ("layer", "rms") else (B, C, size, size)
    return (torch.randn(shape) * 3 + 1).to(device)


def values(g=0.0, h=0.0, device="cpu"):
    """Of a network whose layers have 12 channels, this one from the third on."""
    held = torch.full((B, 2, 12), 9.0, device=device)
    held[:, 0, 2 : 2 + C], held[:, 1, 2 : 2 + C] = g, h
    return held


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("kind", NORMS)
def test_at_its_start_it_equals_the_stock_layer_to_the_bit(kind, training, dtype, device):
    norm, adaptive = (m.to(dtype).train(training) for m in make(kind, device))
    for x in (
        features(kind, device=device),
        features(kind, device=device).to(memory_format=torch.preserve_format) * 0.1,
    ):
        with adaptive.state.holding(values(device=device)):
            ours = adaptive(x.to(dtype))
        expected = norm(x.to(dtype))
        assert ours.dtype == expected.dtype
        assert torch.equal(ours, expected)
    for (name, ours), theirs in zip(adaptive.norm.named_buffers(), norm.buffers(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("kind", NORMS)
def test_at_its_start_it_equals_the_stock_layer_under_autocast(kind, device):
    norm, adaptive = make(kind, device)
    with torch.autocast(device.type, torch.bfloat16), adaptive.state.holding(values(device=device)):
        for x in (features(kind, device=device), features(kind, device=device).bfloat16()):
            ours, expected = adaptive(x), norm(x)
            assert ours.dtype == expected.dtype
            assert torch.equal(ours, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", NORMS)
def test_small_changes_of_the_scale_are_not_lost_in_half_precision(kind, dtype, device):
    norm, adaptive = (m.to(dtype) for m in make(kind, device))
    x = features(kind, device=device).to(dtype)
    with adaptive.state.holding(values(g=1e-3, device=device)):
        ours = adaptive(x).double()
    stock = norm(x).double()
    exact = copy.deepcopy(norm).double()(x.double())
    # Each value is rounded, but their sum has grown by the scale.
    grown = (ours * exact).sum() / (stock * exact).sum()
    assert abs(grown - 1.001) < 2e-4
    assert (ours != stock).double().mean() > 0.05


@pytest.mark.parametrize("kind", NORMS)
def test_it_computes_the_equation_for_each_image(kind, device):
    norm, adaptive = make(kind, device)
    x = features(kind, size=5, device=device)
    g, h = torch.randn(2, B, C, device=device)
    shape = (B, 1, C) if x.ndim == 3 else (B, C, 1, 1)
    with adaptive.state.holding(values(g, h, device)):
        ours = adaptive(x)
    torch.testing.assert_close(ours, (1 + g).view(shape) * norm(x) + h.view(shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["group", "batch", "layer"])
def test_gradients_are_those_of_the_equation(kind, dtype, device):
    norm, adaptive = make(kind, device)
    x = features(kind, size=5, device=device).to(dtype)
    held = values(0.1, 0.2, device).requires_grad_()
    reference = held.detach().clone().requires_grad_()
    shape = (B, 1, C) if x.ndim == 3 else (B, C, 1, 1)
    weights = torch.randn(x.shape, device=device)
    with adaptive.state.holding(held):
        (adaptive(x).float() * weights).sum().backward()
    own = reference[:, :, 2 : 2 + C]
    y = (1 + own[:, 0].view(shape)) * norm(x.float()) + own[:, 1].view(shape)
    (y * weights).sum().backward()
    tolerance = dict(rtol=1e-4, atol=1e-4) if dtype == torch.float32 else dict(rtol=0.05, atol=0.3)
    torch.testing.assert_close(held.grad, reference.grad, **tolerance)
    for ours, theirs in zip(adaptive.norm.parameters(), norm.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, **tolerance)


def test_keys_and_parameters_are_the_stock_layers():
    norm, adaptive = make("batch")
    assert list(adaptive.state_dict()) == list(norm.state_dict())
    other = make("batch")[1]
    other.load_state_dict(norm.state_dict())
    assert adaptive.weight is adaptive.norm.weight
    assert adaptive.bias is adaptive.norm.bias
    assert is_norm(adaptive.norm)
    assert not is_norm(nn.Linear(2, 2))


def test_what_cannot_be_right_is_refused():
    _, adaptive = make("group")
    with pytest.raises(RuntimeError, match="group ran outside the network"):
        adaptive(features("group"))
    held = adaptive.state.holding(values())
    with held, pytest.raises(ValueError, match="sees a batch of 6 for 3 images"):
        adaptive(features("group").repeat(2, 1, 1, 1))
