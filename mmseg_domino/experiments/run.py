"""Train and test one config with one seed, going on from wherever an earlier attempt stopped.

``python -m mmseg_domino.experiments.run CONFIG --work-dir DIR --seed N`` is what a sweep starts
for each of its runs that takes several processes; with one process it calls
:func:`train_and_test`.
"""

import argparse
import copy
import fcntl
import gc
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.dist import barrier, is_main_process

from .. import engine
from ..utils import atomic_write
from ..utils.journal import journal_files
from .record import SWEEP_PID

__all__ = ["train_and_test"]

_TRAINED = "trained"
_LOCK_SECONDS = 60


def _load(config, work_dir, seed, options, launcher, pretty=True) -> Config:
    arguments = argparse.Namespace(
        config=str(config), work_dir=str(work_dir), cfg_options=dict(options or {}) or None,
        launcher=launcher, data_root=None, local_rank=0,
    )  # fmt: skip
    cfg = engine.load_config(arguments)
    cfg.randomness = {**cfg.get("randomness", {}), "seed": seed}
    if not pretty:
        cfg = Config(cfg.to_dict(), filename=cfg.filename, format_python_code=False)
    return cfg


@contextmanager
def _alone(work_dir: Path) -> Iterator[None]:
    """Keep two processes from working in one folder, as after a kill of the sweep alone."""
    work_dir.mkdir(parents=True, exist_ok=True)
    with (work_dir / ".lock").open("w") as file:
        for attempt in range(_LOCK_SECONDS):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == _LOCK_SECONDS - 1:
                    raise RuntimeError(
                        f"another process has been working in {work_dir} for {_LOCK_SECONDS} s; "
                        "stop it first"
                    ) from None
                time.sleep(1)
        yield


def _end_with(pid: int) -> None:
    """End this process soon after another one."""

    def watch() -> None:
        while True:
            time.sleep(1)
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                os.kill(os.getpid(), signal.SIGKILL)
            except PermissionError:
                return

    threading.Thread(target=watch, daemon=True).start()


def _train(cfg, work_dir: Path) -> str:
    """Train, unless that is done; return the last checkpoint's path."""
    last, done = work_dir / "last_checkpoint", work_dir / _TRAINED
    if done.is_file() and Path(done.read_text().strip()).is_file():
        return done.read_text().strip()
    cfg.resume = last.is_file()
    engine.build_runner(cfg).train()
    barrier()  # the first process writes the last checkpoint
    checkpoint = last.read_text().strip()
    if is_main_process():
        with atomic_write(done) as path:
            path.write_text(checkpoint)
    barrier()
    return checkpoint


def train_and_test(
    config: str | os.PathLike,
    work_dir: str | os.PathLike,
    seed: int,
    options: Mapping | None = None,
    launcher: str = "none",
    pretty: bool = True,
) -> None:
    """Train and test; the results are in ``work_dir`` as those of ``tools/test.py``.

    Training goes on from the last checkpoint in ``work_dir``; so does an interrupted test from its
    last image.

    Args:
        config: Config file.
        work_dir: Of this run alone.
        seed: Of everything random.
        options: Overrides of the config.
        launcher: As for ``tools/train.py``.
        pretty: Write the configs in the work folder well formatted, which takes 5 s of a processor.

    Raises:
        RuntimeError: If another process works in ``work_dir``.
    """
    work_dir = Path(work_dir)
    if os.environ.get(SWEEP_PID):
        _end_with(int(os.environ[SWEEP_PID]))
    with _alone(work_dir) if launcher == "none" else _nothing():
        cfg = _load(config, work_dir, seed, options, launcher, pretty)
        checkpoint = _train(copy.deepcopy(cfg), work_dir)
        gc.collect()  # the training's model and optimiser, before the test's model comes
        cfg = engine.apply_domino(cfg)
        cfg.load_from = checkpoint
        # MMEngine names what it logs by the second, and the training may have been that quick.
        cfg.experiment_name = f"{Path(config).stem}_seed{seed}_test"
        begun = bool(journal_files(work_dir / "test_journal"))
        engine.record_results(cfg, checkpoint, resume=begun)
        metrics = engine.build_runner(cfg).test()
        if is_main_process() and metrics:
            engine.write_tables(str(work_dir))


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--work-dir", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    parser.add_argument("--launcher", default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    args = parser.parse_args()
    train_and_test(args.config, args.work_dir, args.seed, args.cfg_options, args.launcher)


if __name__ == "__main__":
    main()
