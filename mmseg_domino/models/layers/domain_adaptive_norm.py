"""A normalisation layer whose output is scaled and shifted by what the image's domain says.

Shapes: ``B`` batch, ``C`` channels of a layer.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..kernels import full_precision
from .key_names import hide_child_name

_NORM_BASES = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
#: Norms of other libraries that inherit from none of PyTorch's.
_NORM_NAMES = ("LayerNorm", "RMSNorm", "RmsNorm", "BatchNorm", "GroupNorm", "LN2d")
_CHANNELS_FIRST = ("channel_first", "channels_first")
_CHANNELS_LAST = ("channel_last", "channels_last")
#: What timm's combined layers (``BatchNormAct2d``, ...) do after the affine step.
_AFTER_AFFINE = ("drop", "act")
_HALF = (torch.bfloat16, torch.float16)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer with one trained scale a channel."""
    weight = module._parameters.get("weight")
    known = isinstance(module, _NORM_BASES) or any(n in type(module).__name__ for n in _NORM_NAMES)
    return known and weight is not None and weight.ndim == 1


class _Bridge(torch.autograd.Function):
    """Hand the gradient that recomputed layers left at a leaf on to what the leaf stands for.

    Reentrant checkpointing recomputes a block and sends a backward pass of its own through it. If
    the values had their graph there, the first block would use that graph up. Every block needs
    ``x``, so that this step of the backward pass comes after them all.
    """

    @staticmethod
    def forward(ctx, x: Tensor, values: Tensor, leaf: Tensor) -> Tensor:
        ctx.leaf = leaf
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return gradient, ctx.leaf.grad, None


class DomainState:
    """The scales and shifts of one forward pass, ``(B, 2, sum of C)``, for all layers.

    The layers read them while the network runs. Gradient checkpointing runs layers once more in
    the backward pass, perhaps after other forward passes: the gradient of a pass's outputs, which
    is computed before anything inside, brings that pass's values back. Copies of a network start
    empty.
    """

    def __init__(self) -> None:
        self.values: Tensor | None = None

    @contextmanager
    def holding(self, values: Tensor) -> Iterator[None]:
        """Give the layers ``values`` while the block runs."""
        before, self.values = self.values, values
        try:
            yield
        finally:
            self.values = before

    def run(self, network, x: Tensor, values: Tensor, reentrant: bool = False) -> object:
        """``network(x)`` under ``values``, also where layers of it are recomputed.

        Args:
            network: Called with ``x``; gives tensors, nested in any way.
            x: Its input.
            values: ``(B, 2, sum of C)``.
            reentrant: Whether parts may run under reentrant checkpointing. It costs the gradient
                of ``x``.
        """
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            # A compiled graph holds the values that its own recomputation needs.
            with self.holding(values):
                return network(x)
        leaf = values.detach().requires_grad_(values.requires_grad)
        if values.requires_grad and (reentrant or x.requires_grad):
            x = _Bridge.apply(x, values, leaf)
        with self.holding(values):
            outputs = network(x)

        def restore(_: Tensor) -> None:
            self.values = leaf

        for tensor in _tensors(outputs):
            if tensor.requires_grad:
                tensor.register_hook(restore)
        return outputs

    def __reduce__(self):
        return DomainState, ()


def _tensors(outputs: object) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, Mapping):
        for value in outputs.values():
            yield from _tensors(value)
    elif isinstance(outputs, list | tuple):
        for value in outputs:
            yield from _tensors(value)


class DomainAdaptiveNorm(nn.Module):
    r"""A stock norm layer, then :math:`y = (1 + g) \cdot \mathrm{norm}(x) + h`.

    ``norm`` is the layer as it was, with its own scale ``w`` and shift ``b``; ``g`` and ``h`` come
    signed. With the paper's form :math:`(w + g') n(x) + (b + h')` it shares all functions of
    channels with :math:`w \ne 0` (:math:`g' = w g`, :math:`h' = b g + h`), and it leaves the stock
    kernel to compute the norm: where ``g = h = 0`` the output equals the stock layer's to the bit.

    Scale and shift are applied in float32 to a norm in float32, and the result has the stock
    layer's type. In half precision the stock output is on a grid of 0.4 %, so that scaling it
    would lose most changes that training makes; the norm is computed a second time there.

    State-dict keys are the stock layer's own.

    Args:
        norm: The stock layer; see :func:`is_norm`.
        state: Where the batch's values are found.
        first: The layer's first channel among those of all layers.
        name: Its name, for messages.
    """

    def __init__(self, norm: nn.Module, state: DomainState, first: int, name: str) -> None:
        super().__init__()
        self.norm = norm
        for part in _AFTER_AFFINE:
            if isinstance(getattr(norm, part, None), nn.Module):
                setattr(self, part, getattr(norm, part))
                setattr(norm, part, nn.Identity())
        self.state, self.first, self.name = state, first, name
        hide_child_name(self, "norm")

    # What initialisation by name looks for on a norm layer.
    @property
    def weight(self) -> Tensor:
        return self.norm.weight

    @property
    def bias(self) -> Tensor | None:
        return getattr(self.norm, "bias", None)

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        g, h = self._modulation(x, _channel_axis(self.norm, args, kwargs))
        plain = self.norm(x, *args, **kwargs)
        if plain.dtype in _HALF:
            precise = self._in_float32(x, args, kwargs)
            y = torch.addcmul(h, precise, 1 + g).to(plain.dtype)
            # Where the stock kernel rounds otherwise than this way of computing it.
            difference = plain.float() - precise.to(plain.dtype).float()
            y = (y.float() + difference.detach()).to(plain.dtype)
        else:
            y = torch.addcmul(h.to(plain.dtype), plain, (1 + g).to(plain.dtype))
        for part in _AFTER_AFFINE:
            if part in self._modules:
                y = self._modules[part](y)
        return y

    def _in_float32(self, x: Tensor, args: tuple, kwargs: dict) -> Tensor:
        parts = {n: p.float() for n, p in self.norm.named_parameters()}
        for name, buffer in self.norm.named_buffers():
            # Copies: running statistics are the first computation's to keep.
            dtype = torch.float32 if buffer.is_floating_point() else buffer.dtype
            parts[name] = buffer.to(dtype, copy=True)
        with full_precision(x.device):
            return functional_call(self.norm, parts, (x.float(), *args), kwargs)

    def _modulation(self, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        values = self.state.values
        if values is None:
            raise RuntimeError(
                f"the domain-adaptive norm layer {self.name} ran outside the network that it "
                "belongs to, which gives it the batch's domain; call that network instead"
            )
        if x.shape[0] != values.shape[0]:
            raise ValueError(
                f"the norm layer {self.name} sees a batch of {len(x)} for {len(values)} images: "
                "the network folds positions into the batch there, and which of them belong to "
                "which image is not known. Leave this layer out with `norms=REGEX`."
            )
        channels = self.norm.weight.numel()
        shape = [x.shape[0]] + [1] * (x.ndim - 1)
        shape[axis] = channels
        own = values[:, :, self.first : self.first + channels]
        return own[:, 0].reshape(shape), own[:, 1].reshape(shape)


def _channel_axis(norm: nn.Module, args: tuple, kwargs: dict) -> int:
    """Layer norms of sequences have their channels last, all others second."""
    given = kwargs.get("data_format", args[0] if args else getattr(norm, "data_format", None))
    if given in _CHANNELS_LAST:
        return -1
    second = isinstance(norm, nn.modules.batchnorm._NormBase | nn.GroupNorm)
    second = second or given in _CHANNELS_FIRST or "2d" in type(norm).__name__.lower()
    return 1 if second else -1
