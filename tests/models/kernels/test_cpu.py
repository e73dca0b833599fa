"""oneDNN's products against PyTorch's own functions, values and gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmseg_domino.models.kernels import cpu as cpu_kernels
from mmseg_domino.models.kernels.cpu import (
    OneDNNLinear,
    OneDNNPointwise,
    attention,
    linear,
    onednn_serves,
    use_onednn_layers,
)

needs_onednn = pytest.mark.skipif(
    cpu_kernels._OPERATOR is None, reason="this build of PyTorch has no oneDNN"
)


@pytest.fixture(autouse=True)
def _no_work_is_too_small(monkeypatch):
    monkeypatch.setattr(cpu_kernels, "_LEAST_WORK", 0)


@pytest.fixture
def calls(monkeypatch):
    """How often oneDNN was asked."""
    count = []
    product = cpu_kernels._product

    def counted(*args):
        count.append(args)
        return product(*args)

    monkeypatch.setattr(cpu_kernels, "_product", counted)
    return count


def random(*shape, seed=0, **kwargs):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(**kwargs)


@needs_onednn
@pytest.mark.parametrize("shape", [(7, 12), (2, 5, 12), (2, 3, 4, 12), (1, 12)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_linear_and_its_gradients(calls, shape, has_bias):
    weight, bias = random(9, 12, seed=1), random(9, seed=2) if has_bias else None
    inputs = [t for t in (random(*shape), weight, bias) if t is not None]
    ours = [t.clone().requires_grad_() for t in inputs]
    theirs = [t.clone().requires_grad_() for t in inputs]
    result, expected = linear(*ours), F.linear(*theirs)
    torch.testing.assert_close(result, expected)
    direction = random(*expected.shape, seed=3)
    for a, b in zip(
        torch.autograd.grad(result, ours, direction),
        torch.autograd.grad(expected, theirs, direction),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    assert len(calls) == 3


@needs_onednn
def test_linear_of_strided_inputs_and_frozen_weights(calls):
    x = random(6, 12, 5).transpose(1, 2).requires_grad_()
    weight = random(9, 24, seed=1)[:, ::2]
    result = linear(x, weight)
    torch.testing.assert_close(result, F.linear(x, weight))
    (gradient,) = torch.autograd.grad(result.sum(), x)
    torch.testing.assert_close(gradient, weight.sum(dim=0).expand(6, 5, 12))
    assert len(calls) == 2  # no gradient of the weight


@needs_onednn
@pytest.mark.parametrize(
    ("queries", "keys"), [(130, 200), (1500, 128), (5, 3000)], ids=["small", "chunks", "few"]
)
def test_attention(calls, queries, keys):
    q, k, v = random(2, 3, queries, 8), random(2, 3, keys, 8, seed=1), random(2, 3, keys, 8, seed=2)
    for scale in (None, 0.3):
        torch.testing.assert_close(
            attention(q, k, v, scale), F.scaled_dot_product_attention(q, k, v, scale=scale)
        )
    assert calls


@needs_onednn
def test_attention_as_the_layers_call_it(calls):
    """Heads that are views of one projection, and keys of one row for several images."""
    q, k = (random(2, 200, 24, seed=s).unflatten(-1, (3, 8)).transpose(1, 2) for s in (0, 1))
    k = k[:1].expand(2, -1, -1, -1)
    torch.testing.assert_close(attention(q, k, k), F.scaled_dot_product_attention(q, k, k))
    assert calls


def test_attention_with_a_graph_is_pytorchs_own(calls):
    q = random(1, 2, 150, 8).requires_grad_()
    attention(q, q, q).sum().backward()
    assert q.grad is not None
    assert not calls


def test_other_cases_are_pytorchs_own(calls):
    x, weight = random(4, 6), random(5, 6)
    assert linear(x.double(), weight.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert not onednn_serves(x)
        assert linear(x, weight).dtype == torch.bfloat16
    assert linear(x[:0], weight).shape == (0, 5)
    assert linear(x[0], weight).shape == (5,)
    assert linear(x.to("meta"), weight.to("meta")).device.type == "meta"
    with torch.backends.mkldnn.flags(enabled=False):
        torch.testing.assert_close(linear(x, weight), F.linear(x, weight))
    assert not calls


@needs_onednn
@pytest.mark.parametrize("channels_last", [True, False])
def test_convolution_over_single_positions(calls, channels_last):
    layer = nn.Conv2d(8, 5, 1)
    expected = layer(random(2, 8, 6, 7))
    expected.sum().backward()
    gradients = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    assert type(use_onednn_layers(layer)) is OneDNNPointwise
    x = random(2, 8, 6, 7)
    if channels_last:
        layer, x = layer.to(memory_format=torch.channels_last), x.to(
            memory_format=torch.channels_last
        )  # fmt: skip
    result = layer(x)
    torch.testing.assert_close(result, expected)
    result.sum().backward()
    for p, gradient in zip(layer.parameters(), gradients, strict=True):
        torch.testing.assert_close(p.grad, gradient)
    assert result.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert len(calls) == (2 if channels_last else 0)  # the input wants no gradient


@pytest.mark.parametrize(
    "options",
    [dict(kernel_size=3), dict(kernel_size=1, stride=2), dict(kernel_size=1, groups=2),
     dict(kernel_size=1, padding=1)],
)  # fmt: skip
def test_other_convolutions_are_left_alone(options):
    assert type(use_onednn_layers(nn.Conv2d(4, 4, **options))) is nn.Conv2d


def test_small_products_are_pytorchs_own(calls, monkeypatch):
    monkeypatch.setattr(cpu_kernels, "_LEAST_WORK", 10_000)
    x, weight, heads = random(4, 6), random(5, 6), random(1, 2, 20, 8)
    linear(x, weight)
    attention(heads, heads, heads)
    assert not calls


def test_linears_are_exchanged_in_place(calls):
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(6, 5), nn.ModuleDict({"a": Own(5, 4)}), nn.ReLU())
    before = dict(model.state_dict())
    hooked = []
    model[0].register_forward_hook(lambda *args: hooked.append(args))
    assert use_onednn_layers(model) is model
    assert type(model[0]) is OneDNNLinear
    assert type(model[1]["a"]) is Own
    assert list(model.state_dict()) == list(before)
    x = random(3, 6)
    torch.testing.assert_close(model[0](x), F.linear(x, before["0.weight"], before["0.bias"]))
    assert len(hooked) == 1


@needs_onednn
def test_it_can_be_compiled():
    layer = OneDNNLinear(6, 5)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    x = random(3, 6)
    torch.testing.assert_close(compiled(x), F.linear(x, layer.weight, layer.bias))


@needs_onednn
def test_a_trace_has_pytorchs_own_operators(calls):
    layer = OneDNNLinear(6, 5).requires_grad_(False)
    traced = torch.jit.trace(layer, random(3, 6), check_trace=False)
    assert "mkldnn" not in str(traced.graph)
    assert not calls
