"""Stopping a training that has diverged."""

import math
from collections.abc import Mapping

import torch
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from ..loading import check_finite, unwrapped


@HOOKS.register_module()
class FiniteWeightsHook(Hook):
    """Stops a training whose weights became NaN or infinite, and keeps them out of checkpoints.

    The loss is looked at after every iteration, which costs nothing since MMEngine reads it for
    its log anyway; the weights when it is not finite (in half precision a step may overflow, and
    is then skipped) and before they are saved, so that the last good checkpoint stays.

    Raises:
        NonFiniteWeightsError: With the names of the weights and what helps.
    """

    priority = "VERY_HIGH"  # before the hook that saves

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else None
        if loss is None or math.isfinite(float(torch.as_tensor(loss).detach().sum())):
            return
        state = unwrapped(runner.model).state_dict()
        check_finite(state, f"the model after iteration {runner.iter + 1} (loss {float(loss)})")

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        where = f"the checkpoint of iteration {checkpoint['meta'].get('iter')}, not written,"
        check_finite(checkpoint["state_dict"], where)
