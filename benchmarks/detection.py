"""Mask R-CNN on the street world with and without Domino: `make detect`, and its comparison.

    python -m benchmarks.detection                   # one seed each: tables and a page
    python -m benchmarks.detection --seeds 0 1 2 --iterations 600 --out work_dirs/detect_600
                                                     # and a verdict, by the rule of docs/bench.md

Started again it goes on where it was; a run whose results are there is not run again.
"""

import argparse
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CONFIG = "configs/detection/domino_mask-rcnn_mini.py"
CONDITIONS = {
    "domino": {},
    "plain": {"domino.backbone.injection": "none", "domino.encode": "none"},
}
TARGET = "acdc/mean_of_domains"
#: What a run took of a processor, in seconds.
CPU = "cpu_seconds"


def prepare(root: Path) -> None:
    """The street world and the embeddings of its images, unless they are there."""
    world = [sys.executable, "-m", "street_world", "--root", str(root)]
    subprocess.run(world, check=True)
    store = root / "domains.safetensors"
    if not store.is_file() or store.stat().st_mtime < (root / "street_world.json").stat().st_mtime:
        store.unlink(missing_ok=True)
        command = "from mmseg_domino.cli import main; main()"
        subprocess.run([sys.executable, "-c", command, "domains", "extract", CONFIG], check=True)


def run(work_dir: str, condition: str, seed: int, iterations: int | None) -> None:
    """Train and test one condition."""
    from mmseg_domino import engine

    overrides = {"randomness.seed": seed, **CONDITIONS[condition]}
    if iterations is not None:
        warm = min(20, iterations // 10)  # the config's 20
        overrides |= {
            "train_cfg.max_iters": iterations, "param_scheduler.0.end": warm,
            "param_scheduler.1.begin": warm, "param_scheduler.1.end": iterations,
        }  # fmt: skip
    log = open(Path(work_dir) / "run.log", "ab", buffering=0)  # noqa: SIM115, the process's own
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    cfg = engine.apply_domino(engine.load_config(CONFIG, work_dir, overrides))
    cfg.resume = Path(work_dir, "last_checkpoint").is_file()
    engine.build_runner(engine.for_this_run(cfg)).train()
    checkpoint = Path(work_dir, "last_checkpoint").read_text().strip()
    cfg = engine.for_this_run(cfg)
    cfg.load_from, cfg.resume = checkpoint, False
    engine.record_results(cfg, checkpoint)
    hook = dict(type=engine.report_hook(cfg))
    cfg.custom_hooks = [*cfg.custom_hooks, hook]
    engine.build_runner(cfg).test()
    used = sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    Path(work_dir, CPU).write_text(f"{used:.0f}\n")


def run_all(plan: Sequence[tuple[str, int]], out: Path, parallel: int, iterations) -> None:
    """Run what has no results yet, so many at a time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mmseg_domino.detection", "mmdet.models"])
    waiting = [(c, s) for c, s in plan if not (out / f"{c}_seed{s}" / "results.json").is_file()]
    running: list[tuple[str, multiprocessing.Process]] = []
    while waiting or running:
        while waiting and len(running) < parallel:
            condition, seed = waiting.pop(0)
            name = f"{condition}_seed{seed}"
            (out / name).mkdir(parents=True, exist_ok=True)
            arguments = (str(out / name), condition, seed, iterations)
            process = context.Process(target=run, args=arguments)
            process.start()
            print(f"==> {name}: log in {out / name}/run.log", flush=True)
            running.append((name, process))
        for name, process in list(running):
            process.join(0.5)
            if process.exitcode is None:
                continue
            if process.exitcode:
                raise SystemExit(f"{name} failed, see {out / name}/run.log")
            running.remove((name, process))


def decide(out: Path, seeds: Sequence[int]) -> str:
    """The difference Domino makes, with its interval over seeds and images, as Markdown."""
    from mmseg_domino.experiments.statistics import contrast, verdict
    from mmseg_domino.metrics import load_detection_results
    from mmseg_domino.metrics.intervals import average

    sides = {
        name: [load_detection_results(out / f"{name}_seed{seed}").measured for seed in seeds]
        for name in CONDITIONS
    }
    lines = ["| AP, mean over the targets | plain | Domino | difference [95 %] | verdict |",
             "|---|---:|---:|---:|---|"]  # fmt: skip
    for kind, title in (("bbox", "boxes"), ("segm", "masks")):
        name = f"{TARGET}_{kind}_AP"
        values = {side: [m[name].value for m in found] for side, found in sides.items()}
        differences = [
            a[name] - b[name] for a, b in zip(sides["domino"], sides["plain"], strict=True)
        ]
        found = contrast(np.array([d.value for d in differences]), average(differences))
        cells = [
            f"{np.mean(values[side]):.2f} ± {np.std(values[side], ddof=1):.2f}"
            if len(seeds) > 1 else f"{values[side][0]:.2f}"
            for side in ("plain", "domino")
        ]  # fmt: skip
        lines.append(
            f"| {title} | {cells[0]} | {cells[1]} | {found.difference:+.2f} [{found.low:.2f} to "
            f"{found.high:.2f}] | {verdict(found)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("work_dirs/detect"))
    parser.add_argument("--root", type=Path, default=Path("data/mini"))
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time")
    parser.add_argument("--iterations", type=int, help="of the training; the config's by default")
    given = parser.parse_args()
    start = time.time()
    prepare(given.root)
    plan = [(condition, seed) for seed in given.seeds for condition in CONDITIONS]
    run_all(plan, given.out, given.parallel, given.iterations)
    from mmseg_domino.metrics import load_detection_results
    from mmseg_domino.reporting import detection_table, write_detection_report

    folders = [given.out / f"{condition}_seed{seed}" for condition, seed in plan]
    for folder in folders[-len(CONDITIONS) :]:
        print("\n" + detection_table(load_detection_results(folder)).text())
    print(decide(given.out, given.seeds))
    page = write_detection_report(folders[: len(CONDITIONS)], given.out / "report")
    used = [int((folder / CPU).read_text()) for folder in folders]
    print(f"\n==> {time.time() - start:.0f} s; seconds of a processor a run: {used}; page: {page}")


if __name__ == "__main__":
    main()
