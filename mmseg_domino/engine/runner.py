"""The runner of the tools and of the mix-in, and the hook that guards other runners."""

import copy
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop, CheckpointLoader, Runner
from mmengine.utils import import_modules_from_strings
from mmseg.registry import HOOKS, RUNNERS
from torch import nn
from torch.distributed.fsdp import FSDPModule

from ..utils import atomic_write
from ..utils.configs import type_name
from ..utils.disk import explain_disk
from ..utils.locks import folder_lock
from ..utils.processes import on_first
from .checkpoints import newest_checkpoint
from .console import Console
from .hooks import (
    AtomicCheckpointHook,
    AveragingHook,
    FiniteWeightsHook,
    PrintableVisualizationHook,
    RunSummaryHook,
)
from .loading import LoadReport, load_weights, unwrapped
from .mixin import apply_domino
from .resuming import check_resumable, training_settings
from .sharding import ShardingHook, whole_checkpoints
from .testing import check_test, tell_image_folders

_REPLACED_HOOKS = {
    "CheckpointHook": AtomicCheckpointHook,
    "EMAHook": AveragingHook,
    "SegVisualizationHook": PrintableVisualizationHook,
}


@RUNNERS.register_module()
class DominoRunner(Runner):
    """MMEngine's runner for people who rely on its figures.

    It runs the config that :func:`apply_domino` makes of a stock one with ``domino``; any other
    config as it is. What it writes into the work folder is the rewritten config: complete in
    itself, to be used by any program (``mmseg.apis.init_model``, a stock ``tools/test.py``).

    Weights are loaded by :func:`load_weights`: all of them, or an error. A training that starts
    from the checkpoint of another model names the parts that are new in the config:
    ``new_parts=['backbone.domain']``. A training that diverges is stopped.

    The screen gets one paragraph about the training and then its progress; the log file has
    MMEngine's account of environment, config, weights and hooks.
    """

    #: What came out of the checkpoint, once one is loaded.
    load_report: LoadReport | None = None
    _training = False

    @classmethod
    def from_cfg(cls, cfg):
        if "runner_type" in cfg and "domino" not in cfg:
            raise ValueError(
                "runner_type is DominoRunner and the config has no `domino`, so nothing says what "
                "to make of it. Keep the base mmseg_domino::_base_/domino.py (an override with "
                "_delete_=True takes it out?), or leave runner_type away for the plain model."
            )
        cfg = apply_domino(cfg)
        if cfg.get("custom_imports"):
            # What the config was read with did not yet include the plugin.
            import_modules_from_strings(**cfg.custom_imports)
        return super().from_cfg(cfg)

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        self.console = Console()
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(self.console)
        return logger

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        loop = super().build_test_loop(loop)
        tell_image_folders(loop)
        return loop

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        with whole_checkpoints():
            return super().wrap_model(model_wrapper_cfg, model)

    def register_hooks(self, default_hooks=None, custom_hooks=None) -> None:
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(RunSummaryHook())
        self._sharding = ShardingHook()
        self.register_hook(self._sharding)
        if not any(isinstance(hook, FiniteWeightsHook) for hook in self.hooks):
            self.register_hook(FiniteWeightsHook())

    def register_hook(self, hook, priority=None) -> None:
        ours = _REPLACED_HOOKS.get(type_name(hook)) if isinstance(hook, dict) else None
        if ours is not None:
            hook = {**hook, "type": ours}
        super().register_hook(hook, priority)

    def train(self) -> nn.Module:
        self._training = True
        with self._alone("train", "training"):
            return super().train()

    def val(self) -> dict:
        with self._alone("test", "validation"):
            return super().val()

    def test(self) -> dict:
        metrics = self.test_loop.evaluator.metrics
        out = {os.path.abspath(m.output_dir) for m in metrics if getattr(m, "output_dir", None)}
        with self._alone("test", "test", sorted(out - {self.work_dir})):
            check_test(self.test_loop)
            return super().test()

    @contextmanager
    def _alone(self, name: str, task: str, folders: Sequence[str] = ()) -> Iterator[None]:
        """Keep other trainings, or other tests, out of the work folder and further ones; then write
        the config."""
        with ExitStack() as held, explain_disk(self.work_dir):

            def take() -> None:
                for folder in (self.work_dir, *folders):
                    held.enter_context(folder_lock(folder, name, task))

            on_first(take)
            self._write_config()
            yield

    def dump_config(self) -> None:
        """Wait until the work folder is this run's: called while the runner is built."""

    @master_only
    def _write_config(self) -> None:
        name = self.cfg.filename or f"{self.timestamp}.py"
        with atomic_write(Path(self.work_dir, Path(name).name)) as path:
            cfg = self.cfg
            if cfg.get("resume"):  # of this invocation, too
                cfg = copy.deepcopy(cfg)
                cfg.resume = False
            cfg.dump(str(path))

    def _init_model_weights(self) -> None:
        if not isinstance(self.model, FSDPModule):  # those of one were read before they were cut
            super()._init_model_weights()

    def load_or_resume(self) -> None:
        """As MMEngine's, but resume from the newest checkpoint that can be read."""
        if self._resume and self._load_from is None and not self._has_loaded:
            self._load_from = on_first(lambda: newest_checkpoint(self.work_dir))
            if self._load_from is None:
                self.logger.warning(f"{self.work_dir} has no checkpoint: training starts anew")
                return
        super().load_or_resume()

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = "cpu",
        strict: bool = True,
        revise_keys: Any = None,
    ) -> dict:
        """Read a checkpoint and load its weights as :func:`load_weights` does.

        ``strict`` and ``revise_keys`` are MMEngine's, and not looked at: the loading is strict, and
        ``module.`` before all names is removed.

        Raises:
            CheckpointMismatchError: If the checkpoint does not fit the model.
            ResumeMismatchError: If a training is resumed with another learning rate, model or data.
            NonFiniteWeightsError: If its weights are NaN or infinite.
        """
        # A resumed training, a validation and a test have nothing that is new.
        starts = self._training and not self._resume
        new_parts = self.cfg.get("new_parts", ()) if starts else ()
        if isinstance(self.model, FSDPModule):  # a card may have no room for all
            map_location = "cpu"
        checkpoint = CheckpointLoader.load_checkpoint(str(filename), map_location=map_location)
        if self._training and self._resume:
            self._check_settings(checkpoint, str(filename))
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        self.load_report = load_weights(self.model, checkpoint, str(filename), new_parts)
        self._has_loaded = True
        if not self._training:  # a training says it with what else it starts from
            self.logger.info(f"Weights: {self.load_report}.", extra={"console": True})
        self._record_weights()
        return checkpoint

    def _check_settings(self, checkpoint: dict, source: str) -> None:
        stored = checkpoint.get("meta", {}).get("settings")
        if stored is not None:
            changed = check_resumable(stored, self.cfg, source)
            if changed:
                self.logger.warning(f"resumed with other settings than before: {changed}")

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """As MMEngine's, but a kill at any moment leaves either no file or a whole one."""
        self._sharding.gather(self)
        self._save_checkpoint(out_dir, filename, *args, **kwargs)

    @master_only
    def _save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        meta = kwargs.get("meta") or {}
        kwargs["meta"] = {**meta, "settings": training_settings(self.cfg)}
        if "://" in str(out_dir):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        with atomic_write(Path(out_dir, filename)) as path:
            super().save_checkpoint(str(path.parent), path.name, *args, **kwargs)
            with open(path, "rb") as file:
                os.fsync(file.fileno())  # what it replaces is removed next

    def _record_weights(self) -> None:
        """Have the metrics that write results say what was loaded."""
        evaluator = getattr(self._test_loop, "evaluator", None)
        for metric in getattr(evaluator, "metrics", ()):
            if isinstance(getattr(metric, "run", None), dict):
                metric.run["weights"] = asdict(self.load_report)


@HOOKS.register_module()
class DominoGuardHook(Hook):
    """Stops a program that ignored the mix-in and built the stock model instead.

    MMSegmentation's own ``tools/test.py`` does not read ``runner_type``. Without this hook it
    would load a Domino checkpoint into the stock model, drop what does not fit with no more than
    a warning, and report a wrong number.
    """

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Under a runner that lets keys be missing, load as :class:`DominoRunner` does."""
        if not isinstance(runner, DominoRunner):
            load_weights(runner.model, checkpoint, str(runner._load_from or "the checkpoint"))

    def before_run(self, runner) -> None:
        model = unwrapped(runner.model)
        if not getattr(model, "carries_domain", False):
            raise RuntimeError(
                "the config asks for Domino (it has the base mmseg_domino::_base_/domino.py), but "
                f"the model that was built is a plain {type(model).__name__}: this program did "
                "not build the runner named by `runner_type`. Use `domino train` and `domino "
                "test`, or the complete config that training wrote into its work "
                "folder."
            )
