"""Attacks on what runs leave: checkpoints, results, journals, sweeps, generated data sets."""

import contextlib
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from mmengine.config import Config

from mmseg_domino import engine
from mmseg_domino.domain import load_prompt_bank
from mmseg_domino.evaluation import DomainIoUMetric
from mmseg_domino.experiments import Sweep, collect_conditions
from mmseg_domino.experiments.plan import PlannedRun, read_plan, write_plan
from mmseg_domino.experiments.record import RunRecord, freeze_config, write_record
from mmseg_domino.experiments.run import train_and_test
from mmseg_domino.metrics import load_results
from mmseg_domino.reporting.examples import load_examples
from mmseg_domino.synthesis import (
    GateThresholds,
    LabelledImages,
    Plan,
    QualityGate,
    SynthesisTree,
    synthesise,
)
from tests.experiments.folders import write_run
from tests.reporting.test_examples import store as write_examples
from tests.small_training import write_small_training
from tests.synthesis.scenes import Recolour, write_cityscapes

from .damage import cuts, edited, flips, kinds, payloads, swapped, weights
from .judge import Target


def _config(path: Path, work_dir: Path, **changes) -> Config:
    cfg = Config(Config.fromfile(path).to_dict(), filename=str(path), format_python_code=False)
    return engine.load_config(cfg, str(work_dir), changes)


@cache
def _training(root: Path) -> Path:
    """``config.py``, ``data`` and ``run`` with four checkpoints of the small training."""
    config = write_small_training(root)
    changes = {"default_hooks.checkpoint.max_keep_ckpts": 5}
    engine.build_runner(_config(config, root / "run", **changes)).train()
    return root


def _test(root: Path, checkpoint: Path, work_dir: Path, resume: bool = False) -> dict:
    # MMEngine's visualisers are known by experiment and second: two runs must not share one.
    names = dict(load_from=str(checkpoint), experiment_name=work_dir.name)
    cfg = _config(root / "config.py", work_dir, **names)
    cfg = engine.for_this_run(engine.apply_domino(cfg))
    engine.record_results(cfg, str(checkpoint), resume=resume)
    return engine.build_runner(cfg).test()


def checkpoints(root: Path) -> Iterator[Target]:
    """A checkpoint to be tested, as PyTorch's file and as safetensors."""
    from safetensors.torch import save_file

    training = _training(root / "training")
    folder = root / "checkpoint"
    folder.mkdir()
    shutil.copy(training / "run" / "iter_4.pth", folder / "model.pth")

    def use(case: Path, name: str = "model.pth") -> dict:
        return _test(training, case / name, case / "w")

    other = root / "unlike.pth"
    _unlike(training, other)
    yield Target(
        "checkpoint",
        folder,
        "model.pth",
        use,
        [
            *flips(30),
            *flips(8, 4000),
            *cuts(),
            *kinds(),
            *payloads(root / "sandbox" / "it ran"),
            weights("no head", lambda s: {k: v for k, v in s.items() if "decode_head" not in k}),
            weights("another prefix", lambda s: {f"segmentor.{k}": v for k, v in s.items()}),
            weights(
                "fewer classes",
                lambda s: {k: v[:2] if "conv_seg" in k else v for k, v in s.items()},
            ),
            weights(
                "a NaN",
                lambda s: {k: v * torch.nan if "conv_seg" in k else v for k, v in s.items()},
            ),
            weights("no weights", lambda s: {}),
            swapped("another model's", other),
        ],
    )
    safe = root / "safetensors"
    safe.mkdir()
    state = torch.load(training / "run" / "iter_4.pth", weights_only=False)["state_dict"]
    save_file(state, safe / "model.safetensors")
    # The format has no checksum of the values, so only what is not a value is flipped.
    yield Target(
        "safetensors weights",
        safe,
        "model.safetensors",
        lambda case: use(case, "model.safetensors"),
        [*flips(15, 3000), *cuts(), *kinds()],
    )


def _unlike(training: Path, out: Path) -> None:
    cfg = _config(
        training / "config.py", out.with_suffix(""), **{"model.backbone.base_channels": 8}
    )
    cfg.model.decode_head.in_channels = 16
    cfg.train_cfg.max_iters = 1
    engine.build_runner(cfg).train()
    shutil.copy(out.with_suffix("") / "iter_1.pth", out)


def resumed_trainings(root: Path) -> Iterator[Target]:
    """A work folder that a training goes on in; it must end as one that nothing happened to."""
    training = _training(root / "training")

    def use(case: Path) -> dict:
        engine.build_runner(
            _config(training / "config.py", case, resume=True, **{"train_cfg.max_iters": 6})
        ).train()
        return torch.load(case / "iter_6.pth", weights_only=False)["state_dict"]

    folder = root / "resumed"
    folder.mkdir()
    for number in (3, 4):
        shutil.copy2(training / "run" / f"iter_{number}.pth", folder)
    (folder / "last_checkpoint").write_text(str(folder / "iter_4.pth"))
    damages = [
        *flips(10),
        *flips(4, 4000),
        *cuts(),
        *list(kinds())[:6],
        *payloads(root / "sandbox" / "it ran"),
    ]
    yield Target("newest checkpoint", folder, "iter_4.pth", use, damages)
    yield Target("last_checkpoint", folder, "last_checkpoint", use, [*flips(3), *cuts()])


def results(root: Path) -> Iterator[Target]:
    """The results of a test, as report, tables and sweeps read them; a report's examples."""
    folder = root / "results"
    write_run(folder)
    others = root / "other_results"
    write_run(others, right=0.8)

    def use(case: Path) -> list:
        found = load_results(case)
        intervals = {name: figure.interval for name, figure in found.figures.items()}
        return [found.metrics(), intervals, found.images and found.images.counts]

    def change(name: str, key: str, value: float):
        def edit(content: dict) -> None:
            group = content["groups"]["acdc/fog"]
            group[key] = value
            content.pop("sha256")  # by somebody who knows the format

        return edited(name, edit)

    def more_images(content: dict) -> None:
        content["groups"]["acdc/fog"]["num_images"] += 1

    def more_pixels(content: dict) -> None:
        content["groups"]["acdc/fog"]["confusion"][0][0] += 5

    yield Target(
        "results.json",
        folder,
        "results.json",
        use,
        [
            *flips(40),
            *cuts(),
            *kinds(),
            swapped("another run's", others / "results.json"),
            change("a better mIoU", "mIoU", 99.0),
            change("another accuracy", "aAcc", 99.0),
            change("IoU that is none", "iou", "high"),
            edited("more images", more_images),
            edited("more pixels", more_pixels),
            edited("no groups", lambda c: c.update(groups={})),
            edited("another source", lambda c: c.update(source="acdc/fog")),
            edited("other classes", lambda c: c.update(classes=["car", "road", "sky"])),
        ],
        ("per_image.safetensors",),
    )
    yield Target(
        "per_image.safetensors",
        folder,
        "per_image.safetensors",
        use,
        [
            *flips(25),
            *flips(5, 1000),
            *cuts(),
            *list(kinds())[:-3],
            swapped("another run's", others / "per_image.safetensors"),
        ],
        ("results.json",),
    )
    examples = root / "examples"
    examples.mkdir()
    example = write_examples(examples)

    def draw(case: Path) -> list:
        return [e.pictures() for e in load_examples(case, ["road", "sky"])]

    yield Target(
        "example's picture",
        examples,
        example.files["prediction"],
        draw,
        [*flips(8), *cuts(), *kinds()],
    )


def journals(root: Path) -> Iterator[Target]:
    """What a killed test left, and goes on from."""
    training = _training(root / "training")
    folder = root / "journal"
    folder.mkdir()
    checkpoint = training / "run" / "iter_4.pth"

    def killed(*_) -> None:
        raise KeyboardInterrupt

    def interrupted(checkpoint: Path, work_dir: Path) -> Path:
        finish, DomainIoUMetric.finish = DomainIoUMetric.finish, killed
        try:
            _test(training, checkpoint, work_dir)
        except KeyboardInterrupt:
            pass
        finally:
            DomainIoUMetric.finish = finish
        (path,) = (work_dir / "test_journal").glob("*.jsonl")
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:3]))  # the header and two of four images
        return path

    path = interrupted(checkpoint, folder)
    for left in [p for p in folder.iterdir() if p.name != "test_journal"]:
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    other = interrupted(training / "run" / "iter_2.pth", root / "other_journal")
    yield Target(
        "journal",
        folder,
        f"test_journal/{path.name}",
        lambda case: _test(training, checkpoint, case, resume=True),
        [*flips(40), *cuts(), *kinds(), swapped("another checkpoint's", other)],
    )


def sweeps(root: Path) -> Iterator[Target]:
    """What a sweep keeps of its runs."""
    training = _training(root / "training")
    folder = root / "sweep"
    run = folder / "set" / "a" / "seed0"
    config = _config(training / "config.py", run)
    config.randomness = dict(seed=0)
    run.mkdir(parents=True)
    for number in (3, 4):
        shutil.copy2(training / "run" / f"iter_{number}.pth", run)
    digest = freeze_config(run, config)
    write_record(run, RunRecord("set", "a", 0, "running", config_sha256=digest, attempts=1))
    write_plan(folder, [PlannedRun("set", "a", 0)])
    (run / "trained").write_text("iter_4.pth")

    class Run(PlannedRun):
        def resolve(self) -> Config:
            return config

    planned = Run("set", "a", 0)

    def go_on(case: Path) -> list:
        """As a sweep that is started again, but in this process."""
        place = case / planned.folder
        write_record(place, Sweep([planned], case)._prepare(planned))
        train_and_test(place)
        return [load_results(place).metrics(), [vars(r) for r in read_plan(case)]]

    place = "set/a/seed0/"
    yield Target(
        "run.json",
        folder,
        place + "run.json",
        go_on,
        [*flips(10), *list(cuts())[:8], *list(kinds())[:5]],
        ("frozen_config.py",),
    )
    yield Target("trained", folder, place + "trained", go_on, [*flips(3), *list(cuts())[:5]])
    yield Target(
        "frozen config",
        folder,
        place + "frozen_config.py",
        go_on,
        [*flips(15), *list(cuts())[:7], *list(kinds())[:5]],
    )
    yield Target(
        "sweep.json",
        folder,
        "sweep.json",
        lambda case: [(c.group, c.name, c.state) for c in collect_conditions([case])],
        [*flips(10), *list(cuts())[:8], *list(kinds())[:7]],
    )


def generated(root: Path) -> Iterator[Target]:
    """What a killed generation left, and goes on from."""
    source = write_cityscapes(root / "cityscapes", 2)
    folder = root / "generated"
    plan = Plan(["fog", "night"], load_prompt_bank("acdc"), min_free=0.0)

    def make(out: Path, stop_after: int | None = None) -> None:
        synthesise(
            LabelledImages(source),
            Recolour(stop_after),
            QualityGate(GateThresholds()),
            SynthesisTree(out),
            plan,
            progress=False,
        )

    with contextlib.suppress(KeyboardInterrupt):
        make(folder, 3)

    def use(case: Path) -> dict:
        make(case)
        files = (
            p for p in case.rglob("*") if p.is_file() and p.name not in (".lock", "synthesis.json")
        )
        return {p.relative_to(case).as_posix(): p.read_bytes() for p in files}

    yield Target(
        "synthesis.json",
        folder,
        "synthesis.json",
        use,
        [*flips(10), *list(cuts())[:8], *list(kinds())[:7]],
    )
    yield Target(
        "generation's records",
        folder,
        "records/00000.jsonl",
        use,
        [*flips(25), *list(cuts())[:8], *list(kinds())[:7]],
    )
