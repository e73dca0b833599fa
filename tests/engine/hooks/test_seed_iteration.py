from types import SimpleNamespace

import torch

from mmseg_domino.engine.hooks.seed_iteration import SeedIterationHook, iteration_seed


def test_seeds_differ_between_runs_processes_and_iterations():
    seeds = {iteration_seed(s, r, i) for s in range(5) for r in range(4) for i in range(50)}
    assert len(seeds) == 5 * 4 * 50
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_an_iteration_draws_the_same_numbers_whatever_came_before():
    hook, runner = SeedIterationHook(), SimpleNamespace(seed=7, iter=3)
    hook.before_train_iter(runner, 3)
    first = torch.rand(4)
    torch.rand(100)
    hook.before_train_iter(runner, 3)
    assert torch.equal(first, torch.rand(4))
    runner.iter = 4
    hook.before_train_iter(runner, 4)
    assert not torch.equal(first, torch.rand(4))
