"""Training one model over several cards, each of which keeps a share of every weight (FSDP2).

PyTorch's ``fully_shard`` leaves the names of the model as they are. Checkpoints are whole: a
training on one card, one under DDP and a sharded one go on from each other's.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from mmengine.dist import broadcast, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..models.adapters.frozen_state import FINGERPRINT

#: Classes whose weights are gathered and let go together: layers of diffusion UNets and
#: transformers.
UNITS = (
    "ResnetBlock2D", "FastResnetBlock", "Transformer2DModel", "Block", "ResidualAttentionBlock",
)  # fmt: skip

_WHOLE_CHECKPOINTS = ContextVar("whole_checkpoints", default=False)


@contextmanager
def whole_checkpoints() -> Iterator[None]:
    """Within it models may be sharded, by a runner that makes their checkpoints whole."""
    token = _WHOLE_CHECKPOINTS.set(True)
    try:
        yield
    finally:
        _WHOLE_CHECKPOINTS.reset(token)


@MODEL_WRAPPERS.register_module()
class FullyShard:
    """Shards a model in place: ``model_wrapper_cfg = dict(type="FullyShard")``.

    It needs ``DominoRunner``, which writes and reads whole checkpoints. The model reads its weights
    here, as they cannot be set from a file once they are cut. Weights, gradients and optimiser stay
    float32; for half precision use ``AmpOptimWrapper``.

    Args:
        module: The model, on its device; given back, not wrapped.
        units: Names of the classes whose weights are gathered and let go one at a time.
        reshard_after_forward: Whether weights are let go after the forward pass, too, and gathered
            once more for the backward pass. It takes less memory and more time, and every process
            must make the same number of passes over each image of validation and test.

    Raises:
        ValueError: If the model has none of the units, or leaves frozen weights out of its
            checkpoints.
        RuntimeError: Under another runner; on a CPU with PyTorch 2.6, which shards on cards only.
    """

    def __new__(
        cls,
        module: nn.Module,
        units: Sequence[str] = UNITS,
        reshard_after_forward: bool = False,
    ) -> nn.Module:
        if not _WHOLE_CHECKPOINTS.get():
            raise RuntimeError(
                "FullyShard needs DominoRunner: another runner would write each process's share "
                "of the weights as if it were the model. Start with `domino train`, or set "
                "runner_type='DominoRunner' and build the runner that it names"
            )
        parts = [m for m in module.modules() if type(m).__name__ in units]
        if not parts:
            raise ValueError(
                f"{type(module).__name__} has no part of the classes {', '.join(units)}; name "
                "those to shard by in model_wrapper_cfg.units"
            )
        if any(name.endswith(FINGERPRINT) for name in module.state_dict()):
            raise ValueError(
                "a sharded model cannot leave its frozen weights out of checkpoints; set "
                "save_frozen=True"
            )
        device = next(module.parameters()).device.type
        if device == "cpu" and not hasattr(torch.cpu.Stream, "record_event"):
            raise RuntimeError(
                f"PyTorch {torch.__version__} shards models on GPUs only; on a CPU use a newer "
                "one, or leave model_wrapper_cfg away"
            )
        if hasattr(module, "init_weights"):
            module.init_weights()
        for value in (*module.parameters(), *module.buffers()):
            # fully_shard takes no other layout.
            value.data = value.data.contiguous()
            broadcast(value.data)
        mesh = init_device_mesh(device, (get_world_size(),))
        for part in dict.fromkeys((*reversed(parts), module)):  # inner ones first
            fully_shard(part, mesh=mesh, reshard_after_forward=reshard_after_forward)
        return module


class ShardingHook(Hook):
    """What ``DominoRunner`` does for a sharded model; nothing for any other.

    Validation and test keep all weights on each card: images of different size make different
    numbers of passes, and the processes would wait for each other's.
    """

    priority = "HIGHEST"  # whole weights are what other hooks look at before they are saved

    def __init__(self) -> None:
        self._whole: tuple[dict, dict] = ({}, {})

    def before_val(self, runner) -> None:
        for part in _parts(runner.model):
            part.unshard()

    def after_val(self, runner) -> None:
        for part in _parts(runner.model):
            part.reshard()

    before_test, after_test = before_val, after_val

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Cut the state of the optimiser that a training goes on with."""
        if not (_parts(runner.model) and runner._resume and "optimizer" in checkpoint):
            return
        states = checkpoint["optimizer"]["state"]
        for index, parameter in enumerate(_parameters(runner.optim_wrapper)):
            for key, value in states.get(index, {}).items():
                states[index][key] = share_like(parameter, value)

    def gather(self, runner) -> None:
        """Make weights and optimiser's state whole, in the first process's memory.

        All processes call it together, before the first one saves.
        """
        if not _parts(runner.model):
            return
        weights = {name: _whole(value) for name, value in runner.model.state_dict().items()}
        states = {
            index: {k: _whole(v) for k, v in runner.optim_wrapper.optimizer.state[p].items()}
            for index, p in enumerate(_parameters(runner.optim_wrapper))
            if p in runner.optim_wrapper.optimizer.state
        }
        self._whole = (weights, states)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        weights, states = self._whole
        checkpoint["state_dict"].update(weights)
        if "optimizer" in checkpoint:
            checkpoint["optimizer"]["state"].update(states)
        self._whole = ({}, {})


def share_like(own: Tensor | None, value: object) -> object:
    """This process's share of a whole tensor, if ``own`` of the same shape is sharded."""
    cut = isinstance(own, DTensor) and isinstance(value, Tensor) and own.shape == value.shape
    if not cut or isinstance(value, DTensor):
        return value
    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements)


def _whole(value: object) -> object:
    if isinstance(value, DTensor):
        value = value.full_tensor()
    if isinstance(value, Tensor):
        return value.detach().cpu() if is_main_process() else None
    return value


def _parts(model: nn.Module) -> list[FSDPModule]:
    return [m for m in model.modules() if isinstance(m, FSDPModule)]


def _parameters(wrapper: OptimWrapper) -> Iterator[Tensor]:
    """In the order by which the optimiser numbers them in its state dict."""
    if not isinstance(wrapper, OptimWrapper):
        raise TypeError(f"a sharded model has one optimiser, got {type(wrapper).__name__}")
    for group in wrapper.optimizer.param_groups:
        yield from group["params"]
