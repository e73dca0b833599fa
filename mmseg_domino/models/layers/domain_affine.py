"""Making the affine step of an existing normalisation layer depend on the domain, in place.

Shapes: ``B`` batch, ``C`` channels.
"""

from functools import cache

import torch
from torch import Tensor, nn

from .domain_modulation import INJECTION_SIGNS

__all__ = ["DomainAffine", "DomainAffineState", "is_norm", "make_domain_affine"]

_NORM_BASES = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
#: Norms of other libraries that inherit from none of PyTorch's.
_NORM_NAMES = ("LayerNorm", "RMSNorm", "BatchNorm", "GroupNorm", "LN2d")


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer with one scale a channel."""
    weight = module._parameters.get("weight")
    known = isinstance(module, _NORM_BASES) or any(n in type(module).__name__ for n in _NORM_NAMES)
    return known and weight is not None and weight.ndim == 1


class DomainAffineState:
    """The scales and shifts of the current batch, by layer.

    The layers read them while the network runs. They stay until the next batch, because gradient
    checkpointing runs layers once more in the backward pass. Copies of a network start empty.
    """

    def __init__(self, injection: str) -> None:
        if injection not in INJECTION_SIGNS:
            raise ValueError(
                f"unknown injection {injection!r}; valid ones are {', '.join(INJECTION_SIGNS)}"
            )
        self.injection = injection
        self.values: dict[str, tuple[Tensor, Tensor]] = {}

    def __deepcopy__(self, memo: dict) -> "DomainAffineState":
        memo[id(self)] = copy = DomainAffineState(self.injection)
        return copy

    def __reduce__(self):
        return DomainAffineState, (self.injection,)


class DomainAffine:
    r"""Mixed into the class of a norm layer: :math:`(w \pm g) \cdot \mathrm{norm}(x) + (b \pm h)`.

    The layer keeps its parameters, buffers and names, so that checkpoints fit as before.
    """

    domain_state: DomainAffineState
    domain_name: str

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        if self.domain_name not in self.domain_state.values:
            raise RuntimeError(
                f"the norm layer {self.domain_name} ran outside DominoBackbone.forward, which "
                "gives it the batch's domain; call the wrapping DominoBackbone instead"
            )
        g, h = self.domain_state.values[self.domain_name]
        if len(x) != len(g):
            raise ValueError(
                f"the norm layer {self.domain_name} sees a batch of {len(x)} for {len(g)} images: "
                "the backbone folds positions into the batch there, and which of them belong to "
                "which image is not known. Leave this layer out with DominoBackbone(norms=REGEX)."
            )
        weight, bias = self._parameters["weight"], self._parameters.get("bias")
        # Without affine parameters the layer's own forward only normalises.
        self._parameters["weight"] = self._parameters["bias"] = None
        try:
            normalized = super().forward(x, *args, **kwargs)
        finally:
            self._parameters["weight"], self._parameters["bias"] = weight, bias
        sign = INJECTION_SIGNS[self.domain_state.injection]
        scale = weight + sign * g
        shift = sign * h if bias is None else bias + sign * h
        shape = [len(x)] + [1] * (x.ndim - 1)
        shape[_channel_axis(self, args, kwargs)] = weight.numel()
        scale, shift = (v.to(normalized.dtype).view(shape) for v in (scale, shift))
        return torch.addcmul(shift, normalized, scale)


def _channel_axis(norm: nn.Module, args: tuple, kwargs: dict) -> int:
    """Layer norms of sequences have their channels last, all others second."""
    data_format = kwargs.get("data_format", args[0] if args else None)
    if data_format in ("channel_last", "channels_last"):
        return -1
    name = type(norm).__name__
    second = isinstance(norm, nn.modules.batchnorm._NormBase | nn.GroupNorm) or "2d" in name.lower()
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
