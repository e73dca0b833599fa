"""Checkpoints without the weights that training never changes.

Such a checkpoint carries a fingerprint of what it leaves out. Loading it into a module that was
built from the same weights restores the whole; built from others, it is refused.
"""

import hashlib

import torch
from torch import Tensor, nn

#: Name of the fingerprint in a state dict.
FINGERPRINT = "frozen_fingerprint"
#: Values of a tensor that enter the fingerprint. All would take minutes on a billion of them.
_SAMPLES = 1024


def keep_out_frozen(module: nn.Module, save_frozen: bool) -> None:
    """Let a module's state dict leave out its frozen parameters, and load such a one back whole.

    Args:
        module: Parameters without ``requires_grad`` now are the frozen ones. Copies, whose
            parameters may all be without it (averaged weights), keep to what is said now.
        save_frozen: Whether to write them all the same. Reading works either way.
    """
    module._frozen_names = frozenset(
        name
        for name, value in module.state_dict(keep_vars=True).items()
        if isinstance(value, nn.Parameter) and not value.requires_grad
    )
    if not save_frozen:
        module._register_state_dict_hook(_leave_out)
    handle = module._register_load_state_dict_pre_hook(_fill_in, with_module=True)
    # Before hooks that rename keys: it deals in the names that checkpoints have.
    module._load_state_dict_pre_hooks.move_to_end(handle.id, last=False)


def frozen_sample(value: Tensor) -> Tensor:
    """The values of a parameter that stand for all in the fingerprint, as float32."""
    flat = value.detach().flatten()
    return flat[:: max(1, len(flat) // _SAMPLES)].float().clone()


def _frozen(module: nn.Module) -> dict[str, nn.Parameter]:
    """The frozen parameters by the names that they have in a state dict."""
    hooks = module._state_dict_hooks
    module._state_dict_hooks = type(hooks)(
        (key, hook) for key, hook in hooks.items() if hook is not _leave_out
    )
    try:
        state = module.state_dict(keep_vars=True)
    finally:
        module._state_dict_hooks = hooks
    return {name: value for name, value in state.items() if name in module._frozen_names}


def _fingerprint(module: nn.Module, frozen: dict[str, nn.Parameter]) -> Tensor:
    # What is computed from pretrained weights differs in its last bits from machine to machine.
    pretrained = {
        id(layer._parameters[layer._weight_name]): layer.pretrained_sample
        for layer in module.modules()
        if hasattr(layer, "pretrained_sample")
    }
    digest = hashlib.sha256()
    for name, value in sorted(frozen.items()):
        sample = pretrained.get(id(value))
        sample = frozen_sample(value) if sample is None else sample
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(sample.cpu().contiguous().numpy().tobytes())
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def _leave_out(module: nn.Module, state: dict, prefix: str, _metadata: dict) -> None:
    frozen = _frozen(module)
    for name in frozen:
        state.pop(prefix + name, None)
    state[prefix + FINGERPRINT] = _fingerprint(module, frozen)


def _fill_in(module: nn.Module, state: dict, prefix: str, *_: object) -> None:
    stored = state.pop(prefix + FINGERPRINT, None)
    if stored is None:
        return
    if hasattr(module, "read_weights"):
        module.read_weights()
    frozen = _frozen(module)
    if not torch.equal(stored.cpu(), _fingerprint(module, frozen)):
        raise ValueError(
            f"this checkpoint leaves out the frozen weights of {type(module).__name__}, and it was "
            "trained over others than this one was built from. Build it from the same `weights`, "
            "`vae` and `tune` as in training."
        )
    for name, value in frozen.items():
        state.setdefault(prefix + name, value.detach())
