import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATA_SAMPLERS, DATASETS
from torch import nn

from mmseg_domino.datasets import sampler as sampler_module
from mmseg_domino.datasets.class_statistics import load_class_pixels
from mmseg_domino.datasets.draws import class_probabilities
from mmseg_domino.datasets.sampler import ResumableInfiniteSampler

from . import memory  # noqa: F401  registers the data set


def listed(tag="real", size=7, seeded=False, **kwargs):
    pipeline = [dict(type="SeedSample")] * seeded + [dict(type="AddRandom")]
    return dict(type="ListedDataset", tag=tag, size=size, pipeline=pipeline, **kwargs)


def mixed(real=7, synthetic=3, seeded=False, **kwargs):
    sources = [listed("real", real, seeded), listed("synthetic", synthetic, seeded)]
    return dict(type="RatioConcatDataset", datasets=sources, **kwargs)


def take(sampler, number):
    return list(itertools.islice(iter(sampler), number))


@pytest.fixture
def as_process(monkeypatch):
    def make(rank, world_size, dataset, **kwargs):
        monkeypatch.setattr(sampler_module, "get_dist_info", lambda: (rank, world_size))
        return ResumableInfiniteSampler(dataset, **kwargs)

    return make


def test_an_ordinary_data_set_is_passed_through_once_a_pass():
    dataset = DATASETS.build(listed())
    sampler = DATA_SAMPLERS.build(
        dict(type="ResumableInfiniteSampler"), default_args=dict(dataset=dataset, seed=4)
    )
    drawn = take(sampler, 21)
    assert [sorted(drawn[i : i + 7]) for i in (0, 7, 14)] == [list(range(7))] * 3
    assert drawn[:7] != drawn[7:14]
    assert [index.draw for index in drawn] == list(range(21))
    assert take(ResumableInfiniteSampler(dataset, seed=4), 21) == drawn
    assert take(ResumableInfiniteSampler(dataset, seed=5), 21) != drawn
    assert take(ResumableInfiniteSampler(dataset, shuffle=False, seed=0), 9) == [*range(7), 0, 1]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 8])
def test_four_to_one_in_every_window_of_every_process(as_process, world_size):
    dataset = DATASETS.build(mixed())
    streams = [take(as_process(r, world_size, dataset, seed=1), 60) for r in range(world_size)]
    for stream in streams:
        synthetic = [index >= 7 for index in stream]
        assert all(sum(synthetic[i : i + 5]) == 1 for i in range(56))
    together = [index for step in zip(*streams, strict=True) for index in step]
    assert [index.draw for index in together] == list(range(60 * world_size))
    step = 1 if world_size != 5 else 5  # aligned blocks where the divisor is common
    blocks = [sum(i >= 7 for i in together[b : b + 5]) for b in range(0, len(together) - 4, step)]
    assert set(blocks) == {1}
    # The union goes through each source without repeating one before all have come.
    for low, high in ((0, 7), (7, 10)):
        mine = [i for i in together if low <= i < high]
        assert all(
            len(set(mine[k : k + high - low])) == high - low
            for k in range(0, len(mine) - (high - low), high - low)
        )


PROCESS = """
import json, sys
import torch.distributed as dist
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from tests.datasets.test_sampler import mixed

init_default_scope("mmseg")
dist.init_process_group("gloo")
skipped = int(sys.argv[2])
loader = Runner.build_dataloader(
    dict(batch_size=3, num_workers=1, sampler=dict(type="ResumableInfiniteSampler"),
         collate_fn=dict(type="default_collate"), dataset=mixed()), seed=3)
loader.sampler.skip(skipped)
names = [name for batch, _ in zip(loader, range(20)) for name in batch["name"]]
with open(f"{sys.argv[1]}/{dist.get_rank()}.json", "w") as file:
    json.dump(names, file)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("skipped", [0, 21])
def test_real_processes_keep_the_ratio_and_share_the_stream(tmp_path, as_process, skipped):
    """Two processes with workers and batches of three, fresh and resumed."""
    root = Path(__file__).parents[2]
    (tmp_path / "process.py").write_text(PROCESS)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*launcher, str(tmp_path / "process.py"), str(tmp_path), str(skipped)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
    )
    dataset = DATASETS.build(mixed())
    for rank in range(2):
        names = json.loads((tmp_path / f"{rank}.json").read_text())
        synthetic = [name.startswith("synthetic") for name in names]
        assert all(sum(synthetic[i : i + 5]) == 1 for i in range(56))
        expected = take(as_process(rank, 2, dataset, seed=3), skipped + 60)[skipped:]
        assert names == [f"real{i}" if i < 7 else f"synthetic{i - 7}" for i in expected]


@pytest.mark.parametrize("skipped", [0, 1, 23, 500])
def test_skipping_gives_what_an_uninterrupted_run_gives(as_process, skipped):
    dataset = DATASETS.build(mixed(schedule=[dict(begin=37, ratio="1:1")]))
    whole = take(as_process(1, 2, dataset, seed=3), skipped + 40)
    resumed = as_process(1, 2, dataset, seed=3)
    resumed.skip(skipped)
    part = take(resumed, 40)
    assert part == whole[skipped:]
    assert [i.draw for i in part] == [i.draw for i in whole[skipped:]]


def test_epochs_of_a_stated_length(as_process):
    dataset = DATASETS.build(mixed())
    endless = take(as_process(0, 2, dataset, seed=3), 30)
    sampler = as_process(0, 2, dataset, seed=3, samples_per_epoch=19)
    assert len(sampler) == 10
    for epoch in (0, 2, 1):
        sampler.set_epoch(epoch)
        assert list(sampler) == endless[10 * epoch : 10 * epoch + 10]


def test_domains_get_the_same_share_within_each_source():
    sources = [
        listed("real", 9, domains=("clear_day",)),
        listed("s", 8, domains=("fog", "fog", "fog", "night")),
    ]
    dataset = DATASETS.build(dict(type="RatioConcatDataset", datasets=sources, ratio="1:1"))
    drawn = take(ResumableInfiniteSampler(dataset, seed=0, balance_domains=True), 80)
    domains = [sampler_module.sample_domain(dataset, i) for i in drawn if i >= 9]
    assert all(set(domains[k : k + 2]) == {"fog", "night"} for k in range(0, 40, 2))
    assert Counter(i for i in drawn if i < 9).most_common()[-1][1] >= 4


def test_balancing_needs_domains_and_takes_them_from_set_domain_too():
    unnamed = DATASETS.build(listed())
    with pytest.raises(ValueError, match=r"records none.*SetDomain"):
        ResumableInfiniteSampler(unnamed, seed=0, balance_domains=True)
    named = listed()
    named["pipeline"].insert(0, dict(type="SetDomain", domain="fog"))
    assert sampler_module.sample_domain(DATASETS.build(named), 0) == "fog"


@pytest.fixture
def labelled(tmp_path):
    """Ten labels of class 0; one of them has some of class 1; 255 is void."""
    for number in range(10):
        label = np.zeros((20, 30), np.uint8)
        label[0] = 255
        if number == 6:
            label[5:10] = 1
        cv2.imwrite(str(tmp_path / f"{number}.png"), label)

    def build(**kwargs):
        return BaseSegDataset(
            data_root=str(tmp_path),
            data_prefix=dict(img_path="", seg_map_path=""),
            img_suffix=".png",
            metainfo=dict(classes=("a", "b"), palette=[[0, 0, 0], [1, 1, 1]]),
            pipeline=[dict(type="LoadAnnotations")],
            **kwargs,
        )

    return build


def test_rare_classes_come_more_often(labelled, tmp_path):
    statistics = tmp_path / "pixels.safetensors"
    rare = dict(statistics=str(statistics), temperature=0.5, min_pixels=100)
    drawn = take(ResumableInfiniteSampler(labelled(), seed=0, rare_classes=rare), 200)
    pixels = load_class_pixels(labelled(), statistics)
    assert pixels.tolist() == [[570, 0]] * 6 + [[420, 150]] + [[570, 0]] * 3
    # The rare class is asked for with probability 0.86, else one of ten images of the common one.
    share = class_probabilities(pixels.sum(0), 0.5)
    assert drawn.count(6) / 200 == pytest.approx(share[1] + share[0] / 10, abs=0.08)
    assert len(set(drawn)) > 5
    with pytest.raises(ValueError, match="other labels or classes"):
        load_class_pixels(labelled(indices=4), statistics)
    with pytest.raises(ValueError, match="shuffle=False"):
        ResumableInfiniteSampler(labelled(), shuffle=False, seed=0, rare_classes=rare)


def test_a_pipeline_without_labels_cannot_be_counted(tmp_path):
    dataset = DATASETS.build(listed())
    with pytest.raises(ValueError, match="loads no labels"):
        load_class_pixels(dataset, tmp_path / "pixels.safetensors")
    assert not list(tmp_path.iterdir())


def test_bad_arguments(labelled):
    with pytest.raises(ValueError, match="empty"):
        ResumableInfiniteSampler([], seed=0)
    with pytest.raises(ValueError, match="at least 0"):
        ResumableInfiniteSampler(labelled(), seed=0).skip(-1)


class Probe(nn.Module):
    """Stands for a model: its weight is changed by every sample and its augmentation."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def train_step(self, data, optim_wrapper):
        drawn = torch.stack([torch.stack(list(d)) for d in zip(*data["drawn"], strict=True)])
        values = drawn.double() * (torch.as_tensor(data["index"]).double()[:, None] + 1)
        with torch.no_grad():
            self.weight.mul_(0.9).add_(values.sum(0))
        return dict(loss=self.weight.sum())


def run(folder, iterations, workers, resume=False):
    runner = Runner(
        model=Probe(),
        work_dir=str(folder),
        train_dataloader=dict(
            batch_size=3,
            num_workers=workers,
            persistent_workers=workers > 0,
            sampler=dict(type="ResumableInfiniteSampler"),
            collate_fn=dict(type="default_collate"),
            dataset=mixed(seeded=True),
        ),
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=10**9),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=4, by_epoch=False)),
        default_scope="mmseg",
        randomness=dict(seed=5),
        log_level="ERROR",
        resume=resume,
        experiment_name=f"{folder.name}{iterations}{workers}{resume}",
    )
    return runner.train().weight.detach().clone()


def test_a_killed_and_resumed_run_ends_with_the_same_weights(tmp_path):
    whole = run(tmp_path / "whole", 11, workers=0)
    run(tmp_path / "cut", 6, workers=0)  # its last checkpoint is of iteration 4
    assert torch.equal(run(tmp_path / "cut", 11, workers=2, resume=True), whole)
