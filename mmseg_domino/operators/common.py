"""What the stand-ins share: precision, checks and gradients."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_HALF = (torch.float16, torch.bfloat16)


def full_precision(*tensors: Tensor) -> list[Tensor]:
    """Half-precision tensors as float32, others as they are."""
    return [t.float() if t.dtype in _HALF else t for t in tensors]


def check_operands(operator: str, **tensors: Tensor) -> None:
    """Refuse tensors that the compiled operator refuses."""
    (first, reference), *others = tensors.items()
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise TypeError(f"{operator}: {name} are {tensor.dtype}; convert them to float")
    for name, tensor in others:
        if tensor.device != reference.device:
            raise RuntimeError(
                f"{operator}: {name} are on {tensor.device} and {first} on {reference.device}; "
                "move them to one device"
            )
        if tensor.dtype != reference.dtype:
            raise TypeError(
                f"{operator}: {name} are {tensor.dtype} and {first} {reference.dtype}; "
                f"convert one, for instance {name}.type_as({first})"
            )


def gradients(
    function: Callable[..., Tensor], operands: Sequence[Tensor], grad_output: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of ``function(*operands)`` by recomputing it, in the operands' precision."""
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in full_precision(*operands)]
        output = function(*leaves)
    found = torch.autograd.grad(output, leaves, grad_output.to(output.dtype))
    return tuple(g.to(t.dtype) for g, t in zip(found, operands, strict=True))
