"""Train and test a frozen config, going on from wherever an earlier attempt stopped.

A sweep starts ``python -m mmseg_domino.experiments.run WORK_DIR`` for each of its runs; on a
machine without a GPU it calls :func:`train_and_test` in a forked process.
"""

import argparse
import copy
import gc
import os
import signal
import threading
import time
from contextlib import nullcontext
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process

from .. import engine
from ..utils import write_text
from ..utils.journal import journal_files
from ..utils.locks import folder_lock
from .record import SWEEP_PID, config_hash, read_frozen, read_record

_TRAINED = "trained"
#: After a kill of the sweep alone its runs need a moment to end.
_LOCK_SECONDS = 60


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


def _train(cfg: Config, work_dir: Path) -> str:
    """Train, unless that is done; return the last checkpoint's path."""
    newest, done = engine.newest_checkpoint(work_dir), work_dir / _TRAINED
    if done.is_file():
        named = done.read_text(encoding="utf-8", errors="replace").strip()
        if newest is not None and named == Path(newest).name:
            return newest
        print(
            f"{done} names {named!r}, which is not the newest checkpoint that can be read; "
            f"training goes on from {newest or 'the start'}",
            flush=True,
        )
    if newest is not None:
        # With a `load_from` of its own, MMEngine would resume from that.
        cfg.resume, cfg.load_from = True, None
    engine.build_runner(cfg).train()
    barrier()  # the first process writes the last checkpoint
    newest = engine.newest_checkpoint(work_dir)
    if is_main_process():
        write_text(done, Path(newest).name)
    barrier()
    return newest


def _load(work_dir: Path, launcher: str) -> Config:
    """The frozen config, made ready for this attempt."""
    cfg, record = read_frozen(work_dir), read_record(work_dir)
    if record is not None and record.config_sha256 != config_hash(cfg.to_dict()):
        raise ValueError(f"{cfg.filename} was edited after the run was started; see --redo")
    # MMEngine names its files after the config's; the frozen one must stay as it is.
    name = work_dir.parent.name if record is None else record.name
    path = str(work_dir / f"{name}.py")
    cfg = Config(cfg.to_dict(), cfg.text, path, format_python_code=False)
    cfg.work_dir, cfg.launcher = str(work_dir), launcher
    return cfg


def train_and_test(work_dir: str | os.PathLike, launcher: str = "none") -> None:
    """Train and test; the results are in ``work_dir`` as those of ``domino test``.

    Training goes on from the newest checkpoint in ``work_dir``; so does an interrupted test from
    its last image.
    """
    work_dir = Path(work_dir).resolve()
    if os.environ.get(SWEEP_PID):
        _end_with(int(os.environ[SWEEP_PID]))
    alone = folder_lock(work_dir, "run", "a sweep's run", wait=_LOCK_SECONDS)
    with alone if launcher == "none" else nullcontext():
        cfg = _load(work_dir, launcher)
        checkpoint = _train(copy.deepcopy(cfg), work_dir)
        gc.collect()  # the training's model and optimiser, before the test's model comes
        cfg = engine.for_this_run(engine.apply_domino(cfg))
        cfg.load_from = checkpoint
        # MMEngine names what it logs by the second, and the training may have been that quick.
        cfg.experiment_name = f"{Path(cfg.filename).stem}_seed{cfg.randomness.seed}_test"
        begun = bool(journal_files(work_dir / "test_journal"))
        engine.record_results(cfg, checkpoint, resume=begun)
        metrics = engine.build_runner(cfg).test()
        if is_main_process() and metrics:
            engine.write_tables(str(work_dir))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dir")
    parser.add_argument("--launcher", default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    train_and_test(args.work_dir, args.launcher)


if __name__ == "__main__":
    main()
