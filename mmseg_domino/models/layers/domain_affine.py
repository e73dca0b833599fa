"""Making the affine step of an existing normalisation layer depend on the domain, in place.

Shapes: ``B`` batch, ``C`` channels.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

from .domain_modulation import INJECTION_SIGNS

__all__ = ["DomainAffine", "DomainAffineState", "is_norm", "make_domain_affine"]

_NORM_BASES = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
#: Norms of other libraries that inherit from none of PyTorch's.
_NORM_NAMES = ("LayerNorm", "RMSNorm", "RmsNorm", "BatchNorm", "GroupNorm", "LN2d")
_CHANNELS_FIRST = ("channel_first", "channels_first")
_CHANNELS_LAST = ("channel_last", "channels_last")
#: What timm's combined layers (``BatchNormAct2d``, ...) do after the affine step.
_AFTER_AFFINE = ("drop", "act")


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer with one trained scale a channel."""
    weight = module._parameters.get("weight")
    known = isinstance(module, _NORM_BASES) or any(n in type(module).__name__ for n in _NORM_NAMES)
    return known and weight is not None and weight.ndim == 1


class DomainAffineState:
    """The scales and shifts of one forward pass, by layer.

    The layers read them while the network runs. Gradient checkpointing runs layers once more in
    the backward pass, perhaps after other forward passes: :meth:`remember` has the gradient of a
    pass's outputs, which is computed before anything inside, bring that pass's values back.

    Copies of a network start empty.
    """

    def __init__(self, injection: str) -> None:
        if injection not in INJECTION_SIGNS:
            raise ValueError(
                f"unknown injection {injection!r}; valid ones are {', '.join(INJECTION_SIGNS)}"
            )
        self.injection = injection
        self.values: Mapping[str, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def holding(self, values: Mapping[str, tuple[Tensor, Tensor]]) -> Iterator[None]:
        """Give the layers ``values``, each ``(g, h)`` of shape ``(B, C)``, while the block runs."""
        before, self.values = self.values, values
        try:
            yield
        finally:
            self.values = before

    def remember(self, outputs: object) -> None:
        """Bring the present values back when the gradient of ``outputs`` has been computed."""
        values = self.values

        def restore(_: Tensor) -> None:
            self.values = values

        for tensor in _tensors(outputs):
            if tensor.requires_grad:
                tensor.register_hook(restore)

    def __deepcopy__(self, memo: dict) -> "DomainAffineState":
        memo[id(self)] = copy = DomainAffineState(self.injection)
        return copy

    def __reduce__(self):
        return DomainAffineState, (self.injection,)


def _tensors(outputs: object) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, Mapping):
        for value in outputs.values():
            yield from _tensors(value)
    elif isinstance(outputs, list | tuple):
        for value in outputs:
            yield from _tensors(value)


class DomainAffine:
    r"""Mixed into the class of a norm layer: :math:`(w \pm g) \cdot \mathrm{norm}(x) + (b \pm h)`.

    The layer keeps its parameters, buffers and names, so that checkpoints fit as before.
    """

    domain_state: DomainAffineState
    domain_name: str

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        g, h = self._modulation(x)
        weight, bias = self._parameters["weight"], self._parameters.get("bias")
        after = {n: self._modules[n] for n in _AFTER_AFFINE if n in self._modules}
        plain = _without_affine(self, weight)
        self._parameters.update(plain)
        self._modules.update(dict.fromkeys(after, _IDENTITY))
        try:
            normalized = super().forward(x, *args, **kwargs)
        finally:
            self._parameters.update(
                {name: v for name, v in (("weight", weight), ("bias", bias)) if name in plain}
            )
            self._modules.update(after)
        sign = INJECTION_SIGNS[self.domain_state.injection]
        scale = weight + sign * g
        shift = sign * h if bias is None else bias + sign * h
        shape = [len(x)] + [1] * (x.ndim - 1)
        shape[_channel_axis(self, args, kwargs)] = weight.numel()
        scale, shift = (v.to(normalized.dtype).view(shape) for v in (scale, shift))
        y = torch.addcmul(shift, normalized, scale)
        for module in after.values():
            y = module(y)
        return y

    def _modulation(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values = self.domain_state.values.get(self.domain_name)
        if values is None:
            raise RuntimeError(
                f"the norm layer {self.domain_name} ran outside DominoBackbone.forward, which "
                "gives it the batch's domain; call the wrapping DominoBackbone instead"
            )
        if len(x) != len(values[0]):
            raise ValueError(
                f"the norm layer {self.domain_name} sees a batch of {len(x)} for "
                f"{len(values[0])} images: the backbone folds positions into the batch there, and "
                "which of them belong to which image is not known. Leave this layer out with "
                "DominoBackbone(norms=REGEX)."
            )
        return values


_IDENTITY = nn.Identity()


def _without_affine(norm: nn.Module, weight: Tensor) -> dict[str, Tensor | None]:
    """Parameters under which the layer's own forward only normalises."""
    names = [n for n in ("weight", "bias") if n in norm._parameters]
    if isinstance(norm, _NORM_BASES):
        # None is what affine=False means to PyTorch's functions, and saves a multiplication.
        return dict.fromkeys(names)
    plain = {"weight": torch.ones_like(weight), "bias": torch.zeros_like(weight)}
    return {n: plain[n] if norm._parameters[n] is not None else None for n in names}


def _channel_axis(norm: nn.Module, args: tuple, kwargs: dict) -> int:
    """Layer norms of sequences have their channels last, all others second."""
    given = kwargs.get("data_format", args[0] if args else getattr(norm, "data_format", None))
    if given in _CHANNELS_LAST:
        return -1
    second = isinstance(norm, nn.modules.batchnorm._NormBase | nn.GroupNorm)
    second = second or given in _CHANNELS_FIRST or "2d" in type(norm).__name__.lower()
    return 1 if second else -1


@cache
def _domain_affine_class(base: type) -> type:
    return type(f"DomainAffine{base.__name__}", (DomainAffine, base), {})


def make_domain_affine(norm: nn.Module, name: str, state: DomainAffineState) -> None:
    """Turn a norm layer into a domain-adaptive one, in place and only once.

    Args:
        norm: The layer; see :func:`is_norm`.
        name: Its key in ``state.values``.
        state: Where it finds the batch's ``(g, h)``, each ``(B, C)``.
    """
    if not isinstance(norm, DomainAffine):
        norm.__class__ = _domain_affine_class(type(norm))
    norm.domain_state, norm.domain_name = state, name
