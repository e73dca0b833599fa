"""Checkpoints that a kill at any moment leaves whole."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmseg.registry import HOOKS

from ...utils import TEMPORARY_PREFIX, atomic_write


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's hook, which removes old checkpoints only after the new one is written.

    MMEngine's own removes the old one first, so that a kill in between loses all with
    ``max_keep_ckpts=1``. :class:`DominoRunner` puts this one in its place; the arguments are the
    same.
    """

    def before_train(self, runner) -> None:
        super().before_train(runner)
        if is_main_process() and "://" not in str(self.out_dir):
            for left in Path(self.out_dir).glob(f"{TEMPORARY_PREFIX}*.pth"):
                left.unlink(missing_ok=True)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        outdated: list[int] = []
        if self.max_keep_ckpts > 0:
            steps = [kept for kept in self.keep_ckpt_ids if kept != step] + [step]
            outdated = steps[: -self.max_keep_ckpts]
            self.keep_ckpt_ids = deque(steps[-self.max_keep_ckpts :], self.max_keep_ckpts)
            # With the outdated: a training that is resumed removes what a kill left.
            runner.message_hub.update_info("keep_ckpt_ids", steps)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        with atomic_write(Path(runner.work_dir, "last_checkpoint")) as path:
            path.write_bytes(os.fsencode(self.last_ckpt))
        for old in outdated:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        if not self.save_best:
            return
        unknown = [key for key in self.key_indicators if key not in (*metrics, "auto")]
        if unknown:
            mious = [key for key in metrics if "mIoU" in key]
            raise ValueError(
                f"save_best={', '.join(unknown)}: the validation gave no such figure. It gave "
                f"{', '.join(mious or metrics)}. Of source and targets together there is no mIoU: "
                "to choose a checkpoint by it is to choose by the targets; validate on the source."
            )
        with self._removing_last():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _removing_last(self) -> Iterator[None]:
        """Put off what is removed within the block until its end."""
        backend = self.file_backend
        later: list[tuple[Callable, str]] = []
        self.file_backend = _Deferring(backend, later)
        try:
            yield
        finally:
            self.file_backend = backend
        written = str(getattr(self, "best_ckpt_path", None))
        for remove, path in later:
            if str(path) != written:
                remove(path)


class _Deferring:
    """A file backend that notes what it is asked to remove."""

    def __init__(self, backend: Any, later: list) -> None:
        self._backend, self._later = backend, later

    def remove(self, path: str) -> None:
        self._later.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self._later.append((self._backend.rmtree, path))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)
