"""The benchmark: its data, its runs and what it checks.

Everything lies below one root, from which the runs' configs name their files: ``data/mini`` (street
world and models), ``data/synthetic``, ``runs`` and ``report``.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.paper.questions import (
    CONFIRMING_SEEDS,
    DOMINO,
    HEADLINE_SEEDS,
    PLAIN,
    QUESTIONS,
    Key,
)
from mmseg_domino.domain import DomainEncoder
from mmseg_domino.domain.extraction import extract
from mmseg_domino.experiments import PlannedRun, load_set
from mmseg_domino.experiments.sets import ConfigSet
from mmseg_domino.metrics import PerImage, load_results
from mmseg_domino.utils import atomic_write
from mmseg_domino.utils.images import list_images
from street_world import prepare
from street_world.cards import read_card
from street_world.trees import MANIFEST

DOMAINS = ("fog", "night", "rain", "snow")
#: Sets, below ``configs``, and the base that stands in for the flagship there.
BENCH_SETS = {
    "conditioning": ("ablation/conditioning.py", "bench/domino_vpd_bench.py"),
    "injection": ("ablation/injection.py", "bench/domino_vpd_bench.py"),
    "embedding": ("ablation/embedding.py", "bench/domino_vpd_bench.py"),
    "backbones": ("bench/backbones.py", None),
    "adapters": ("bench/adapters.py", None),
    "ratio": ("ablation/ratio.py", "bench/domino_vpd_bench_4to1.py"),
}


@dataclass(frozen=True)
class BenchSize:
    """How large a benchmark is.

    Attributes:
        train: Clear training scenes.
        val: Validation scenes, in every domain.
        synthetic: Training labels that synthetic images are made from, in each domain.
        seeds: Of every condition; the headline has :data:`HEADLINE_SEEDS` if this is 3 or more.
        iterations: Of each training, 4 crops each.
        world: Seed of the street world.
    """

    train: int
    val: int
    synthetic: int
    seeds: int
    iterations: int
    world: int = 0

    @property
    def options(self) -> dict[str, int]:
        """Overrides of all configs."""
        return {
            "train_cfg.max_iters": self.iterations,
            "param_scheduler.1.end": self.iterations,
        }


FULL = BenchSize(train=240, val=24, synthetic=48, seeds=3, iterations=300)
#: A world of its own, with twice the test images.
CONFIRM = BenchSize(train=240, val=48, synthetic=0, seeds=5, iterations=300, world=1)
QUICK = BenchSize(train=48, val=6, synthetic=0, seeds=1, iterations=40)

#: What the quick version runs: its checks need no more.
QUICK_CONDITIONS: tuple[Key, ...] = (DOMINO, ("backbones", "mini-sd-random"))


def bench_runs(
    configs: Path, size: BenchSize, only: Sequence[Key] | None = None
) -> list[PlannedRun]:
    """All runs, each once however many questions it answers: first seed 0 of all, then seed 1, ...

    Args:
        configs: The project's folder of configs.
        size: Of the benchmark.
        only: Conditions to restrict it to.
    """
    wanted = dict.fromkeys(key for q in QUESTIONS for key in q.conditions.values())
    keys = [key for key in wanted if only is None or key in only]
    sets, runs = _load_sets(configs), []
    for key in keys:
        headline = key in (DOMINO, PLAIN) and size.seeds >= 3
        seeds = max(size.seeds, HEADLINE_SEEDS) if headline else size.seeds
        runs += [PlannedRun(*key, seed, sets[key[0]]) for seed in range(seeds)]
    return sorted(runs, key=lambda run: run.seed)


def confirming_runs(configs: Path) -> list[PlannedRun]:
    """The chosen design and plain VPD on the same training images, with fresh seeds."""
    sets = _load_sets(configs)
    return [PlannedRun(*k, seed, sets[k[0]]) for seed in CONFIRMING_SEEDS for k in (PLAIN, DOMINO)]


def _load_sets(configs: Path) -> dict[str, ConfigSet]:
    sets = {}
    for group, (file, base) in BENCH_SETS.items():
        source = load_set(configs / file)
        sets[group] = source if base is None else source.rebased(configs / base)
    return sets


def prepare_bench(root: Path, size: BenchSize, workers: int = 1) -> dict[str, str]:
    """Make what the runs need below ``root``, unless it is there.

    Returns:
        What was used, in words, by ``clip``, ``sd`` and ``synthetic``.

    Raises:
        ValueError: If there are runs that were made with another world or other models.
    """
    # Heavy, and not needed to plan the runs or to report.
    from benchmarks.paper.synthetic import make_synthetic
    from street_world.models import build_mini_models

    data = root / "data" / "mini"
    folders = prepare(data, size.train, size.val, (128, 256), size.world, workers)
    build_mini_models(data / "models-random", trained=False)
    made_with = "none"
    if size.synthetic:
        made_with = make_synthetic(root, folders, DOMAINS, size.synthetic)
    _extract(root, folders["clip"])
    cards = {key: read_card(folders[key]) for key in ("clip", "sd")}
    _check_identity(root, [cards, json.loads((data / MANIFEST).read_text()), made_with])
    words = {key: card["weights"] for key, card in cards.items()}
    return {**words, "synthetic": made_with}


def _check_identity(root: Path, used: list) -> None:
    """Refuse to add runs to those of another world or other models."""
    digest = hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()
    file = root / "identity"
    if any((root / "runs").glob("*/*/*/results.json")):
        known = file.read_text().strip() if file.is_file() else "none"
        if known != digest:
            raise ValueError(
                f"the runs in {root} were made with another street world or other miniature "
                "models than are there now; start over in another --root"
            )
    with atomic_write(file) as path:
        path.write_text(digest + "\n")


def _extract(root: Path, clip: Path) -> None:
    images = {}
    for folder in ("mini/cityscapes/leftImg8bit", "mini/acdc/rgb_anon", "synthetic/images"):
        if (root / "data" / folder).is_dir():
            found = list_images(root / "data" / folder)
            images |= {f"{folder}/{key}": file for key, file in found.items()}
    encoder = DomainEncoder(f"local-dir:{clip}", bank="acdc")
    extract(images, encoder, root / "data" / "mini" / "domains.safetensors", workers=0)


@dataclass(frozen=True)
class Check:
    """Something that must be so, or the package is broken.

    Attributes:
        text: What was measured against what.
        value: The measurement.
        least: It must be at least this.
    """

    text: str
    value: float
    least: float

    @property
    def passed(self) -> bool:
        return bool(self.value >= self.least)


def constant_miou(images: PerImage, group: str) -> float:
    """mIoU, percent, of predicting a group's most frequent class everywhere."""
    rows = np.array(images.groups) == group
    share = images.label[rows].sum(axis=0).astype(np.float64)
    present = share > 0
    return float(100 * share.max() / share.sum() / present.sum())


def domain_accuracy(images: PerImage, names: Sequence[str]) -> float:
    """Percent of the images whose best domain score is that of their true condition."""
    best = np.asarray(images.domain_scores).argmax(axis=1)
    right = [names[b] == g.domain for b, g in zip(best, images.groups, strict=True)]
    return float(100 * np.mean(right))


def quick_checks(work_dir: Path, pretrained: bool = True) -> list[Check]:
    """What the quick version asserts, with bounds that seeds and machines do not reach.

    Args:
        work_dir: Folder of the sweep.
        pretrained: Whether the mini-SD is a trained one; without, nothing is said of pretraining.
    """
    domino = work_dir / DOMINO[0] / DOMINO[1] / "seed0"
    results = load_results(domino)
    images = results.images
    source = results.source_group
    names = source.domain_scores.names
    domains = {key.domain: group.miou for key, group in results.groups.items()}
    checks = [
        Check(
            "source mIoU, against 1.5 times that of the most frequent class everywhere",
            source.miou,
            1.5 * constant_miou(images, source.key),
        ),
        Check("mIoU on clear days, against nights", domains["clear_day"], domains["night"]),
        Check("images whose domain CLIP tells, percent", domain_accuracy(images, names), 60.0),
    ]
    if pretrained:
        control = load_results(work_dir / "backbones" / "mini-sd-random" / "seed0")
        text = "source mIoU of the pretrained mini-SD, against that of random weights"
        checks.append(Check(text, source.miou, control.source_group.miou))
    return checks


def write_checks(path: Path, checks: Sequence[Check]) -> str:
    """Write the checks as text; return it."""
    lines = [
        f"{'ok    ' if c.passed else 'FAILED'} {c.text}: {c.value:.2f} >= {c.least:.2f}"
        for c in checks
    ]
    text = "\n".join(lines) + "\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return text


def device() -> str:
    """The machine in words."""
    name = "processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{os.cpu_count()} CPU cores ({name})"
