"""State-dict keys of a wrapped module without the wrapper's own level."""

from functools import partial

from torch import nn


def hide_child_name(module: nn.Module, child: str) -> None:
    """Give a child's entries in the state dict the names that they had before it was wrapped.

    ``weight`` instead of ``norm.weight``, in saving and in loading, so that checkpoints of the
    module that is now the child fit as before.
    """
    module._register_state_dict_hook(partial(_hide, child=f"{child}."))
    module._register_load_state_dict_pre_hook(partial(_show, child=child), with_module=True)
    module.register_load_state_dict_post_hook(partial(_hide_missing, child=f"{child}."))


def _hide(module: nn.Module, state: dict, prefix: str, _metadata: dict, *, child: str) -> None:
    start = prefix + child
    for key in [k for k in state if k.startswith(start)]:
        state[prefix + key[len(start) :]] = state.pop(key)


def _show(module: nn.Module, state: dict, prefix: str, *_: object, child: str) -> None:
    module._prefix_in_loading = prefix
    for name in module.get_submodule(child).state_dict():
        if prefix + name in state:
            state[f"{prefix}{child}.{name}"] = state.pop(prefix + name)


def _hide_missing(module: nn.Module, keys, *, child: str) -> None:
    """What is missing is called as a checkpoint would call it."""
    prefix = module._prefix_in_loading
    start = prefix + child
    missing = keys.missing_keys
    missing[:] = [prefix + k[len(start) :] if k.startswith(start) else k for k in missing]
