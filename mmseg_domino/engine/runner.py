"""The runner of the tools and of the mix-in, and the hook that guards other runners."""

from collections.abc import Callable
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader, Runner
from mmengine.utils import import_modules_from_strings
from mmseg.registry import HOOKS, RUNNERS
from torch import nn

from .hooks import FiniteWeightsHook
from .loading import LoadReport, load_weights, unwrapped
from .mixin import apply_domino

__all__ = ["DominoGuardHook", "DominoRunner"]


@RUNNERS.register_module()
class DominoRunner(Runner):
    """MMEngine's runner for people who rely on its figures.

    It runs the config that :func:`apply_domino` makes of a stock one with ``domino``; any other
    config as it is. What it writes into the work folder is the rewritten config: complete in
    itself, to be used by any program (``mmseg.apis.init_model``, a stock ``tools/test.py``).

    Weights are loaded by :func:`load_weights`: all of them, or an error. A training that starts
    from the checkpoint of another model names the parts that are new in the config:
    ``new_parts=['backbone.domain']``. A training that diverges is stopped.
    """

    #: What came out of the checkpoint, once one is loaded.
    load_report: LoadReport | None = None
    _training = False

    @classmethod
    def from_cfg(cls, cfg):
        cfg = apply_domino(cfg)
        if cfg.get("custom_imports"):
            # What the config was read with did not yet include the plugin.
            import_modules_from_strings(**cfg.custom_imports)
        return super().from_cfg(cfg)

    def register_hooks(self, default_hooks=None, custom_hooks=None) -> None:
        super().register_hooks(default_hooks, custom_hooks)
        if not any(isinstance(hook, FiniteWeightsHook) for hook in self.hooks):
            self.register_hook(FiniteWeightsHook())

    def train(self) -> nn.Module:
        self._training = True
        return super().train()

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = "cpu",
        strict: bool = True,
        revise_keys: Any = None,
    ) -> dict:
        """Read a checkpoint and load its weights as :func:`load_weights` does.

        Args:
            filename: A file, or an address that MMEngine knows.
            map_location: As for ``torch.load``.
            strict: Accepted because MMEngine's runner has it; the loading is strict.
            revise_keys: Likewise; ``module.`` before all names is removed.

        Raises:
            CheckpointMismatchError: If the checkpoint does not fit the model.
            NonFiniteWeightsError: If its weights are NaN or infinite.
        """
        # A resumed training, a validation and a test have nothing that is new.
        starts = self._training and not self._resume
        new_parts = self.cfg.get("new_parts", ()) if starts else ()
        checkpoint = CheckpointLoader.load_checkpoint(str(filename), map_location=map_location)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        self.load_report = load_weights(self.model, checkpoint, str(filename), new_parts)
        self._has_loaded = True
        self.logger.info(f"weights: {self.load_report}")
        self._record_weights()
        return checkpoint

    def _record_weights(self) -> None:
        """Have the metrics that write results say what was loaded."""
        evaluator = getattr(self._test_loop, "evaluator", None)
        for metric in getattr(evaluator, "metrics", ()):
            if isinstance(getattr(metric, "run", None), dict):
                metric.run["weights"] = self.load_report.to_dict()


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
