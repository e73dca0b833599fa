"""Matrix products on a CPU in float32 through oneDNN.

PyTorch's own go through MKL, which on CPUs of other makers than its own reaches less than half of
what oneDNN does (``benchmarks/backbone.py`` measures it); PyTorch itself uses oneDNN for
convolutions only. Everything here gives PyTorch's results, to rounding, and falls back to
PyTorch's functions on other devices, in other precisions, and while a graph is being compiled or
traced.

Shapes: ``B`` batch, ``h`` heads, ``L`` queries, ``S`` keys, ``d`` channels of a head.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

#: Queries at a time: enough for oneDNN, and 16 MiB of scores over 4,096 keys.
_CHUNK = 1024
#: Multiplications below which the calls' overhead is not worth it.
_LEAST_WORK = 2**22


def _operator():
    """oneDNN's product ``x @ w.T + b``, which PyTorch keeps for compiled graphs."""
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


_OPERATOR = _operator()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return _OPERATOR(x, weight, bias, "none", [], "")


def onednn_serves(*tensors: Tensor) -> bool:
    """Whether these tensors' products go through oneDNN."""
    return (
        _OPERATOR is not None
        # First: a graph in the making must not ask for the batch's size.
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
        and all(t.numel() for t in tensors)
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        rows, gradient = x.flatten(0, -2), gradient.flatten(0, -2)
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()).view(x.shape) if for_x else None,
            _product(gradient.t(), rows.t()) if for_weight else None,
            gradient.sum(dim=0) if ctx.has_bias and for_bias else None,
        )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``."""
    served = onednn_serves(x, weight) and x.ndim >= 2
    if not served or x.numel() * weight.shape[0] < _LEAST_WORK:
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return _Linear.apply(x, weight, bias)
    return _product(x, weight, bias)


class OneDNNLinear(nn.Linear):
    """``torch.nn.Linear`` with the same parameters, by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class OneDNNPointwise(nn.Conv2d):
    """A convolution over single positions, by :func:`linear` where channels lie last."""

    def forward(self, x: Tensor) -> Tensor:
        channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        if not channels_last or not onednn_serves(x, self.weight):
            return super().forward(x)
        return linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def _is_pointwise(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == module.stride == (1, 1)
        and module.padding == (0, 0)
        and module.groups == 1
    )


def use_onednn_layers(module: nn.Module) -> nn.Module:
    """Turn linear layers and convolutions over single positions into those above, in place.

    Parameters, hooks and names stay; subclasses of ``nn.Linear`` and ``nn.Conv2d`` are left alone.
    """
    for child in module.modules():
        if type(child) is nn.Linear:
            child.__class__ = OneDNNLinear
        elif _is_pointwise(child):
            child.__class__ = OneDNNPointwise
    return module


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """``scaled_dot_product_attention`` of a query ``(B, h, L, d)`` over ``(B, h, S, d)``, unmasked.

    Without a graph it is computed by chunks of queries, so that no more than the scores of one
    chunk of one head are held.
    """
    with_graph = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    work = query.shape[2] * key.shape[2] * query.shape[3]  # of a head: heads are done one by one
    if with_graph or not onednn_serves(query, key, value) or work < _LEAST_WORK:
        return F.scaled_dot_product_attention(query, key, value, scale=scale)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    out = torch.empty_like(query)
    for image in range(query.shape[0]):
        for head in range(query.shape[1]):
            keys = key[image, head] * factor
            values = value[image, head].t().contiguous()
            queries, result = query[image, head], out[image, head]
            for start in range(0, len(queries), _CHUNK):
                scores = _product(queries[start : start + _CHUNK], keys)
                torch.softmax(scores, dim=-1, out=scores)
                result[start : start + _CHUNK] = _product(scores, values)
    return out
