"""Randomness inside the model that depends on the iteration alone."""

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmseg.registry import HOOKS


def iteration_seed(seed: int, rank: int, iteration: int) -> int:
    """A 63-bit seed that differs between runs, processes and iterations."""
    state = np.random.SeedSequence((seed, rank, iteration)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


@HOOKS.register_module()
class SeedIterationHook(Hook):
    """Seed PyTorch's generators before each training iteration from the run's seed and its number.

    Dropout and sampled latents of iteration ``k`` are then the same whether training came to
    ``k`` in one go or was killed and resumed, in every process, and no generator state need be
    saved. The data's randomness is made resumable by the sampler and dataset, not here.
    """

    priority = "VERY_HIGH"

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        torch.manual_seed(iteration_seed(runner.seed, get_rank(), runner.iter))
