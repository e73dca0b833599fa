"""The runner and the hook behind the mix-in ``mmseg_domino::_base_/domino.py``."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from mmseg.registry import HOOKS, RUNNERS

from .mixin import apply_domino

__all__ = ["DominoGuardHook", "DominoRunner"]


@RUNNERS.register_module()
class DominoRunner(Runner):
    """MMEngine's runner over the config that :func:`apply_domino` makes of a stock one.

    The config that it writes into the work folder is the rewritten one: complete in itself, to be
    used by any program (``mmseg.apis.init_model``, a stock ``tools/test.py``).
    """

    @classmethod
    def from_cfg(cls, cfg):
        cfg = apply_domino(cfg)
        # What the config was read with did not yet include the plugin.
        import_modules_from_strings(**cfg.custom_imports)
        return super().from_cfg(cfg)


@HOOKS.register_module()
class DominoGuardHook(Hook):
    """Stops a program that ignored the mix-in and built the stock model instead.

    MMSegmentation's own ``tools/test.py`` does not read ``runner_type``. Without this hook it
    would load a Domino checkpoint into the stock model, drop what does not fit with no more than
    a warning, and report a wrong number.
    """

    def before_run(self, runner) -> None:
        model = runner.model
        while is_model_wrapper(model) or not hasattr(model, "backbone"):
            inner = getattr(model, "module", None)
            if inner is None:
                break
            model = inner
        if not getattr(model, "carries_domain", False):
            raise RuntimeError(
                "the config asks for Domino (it has the base mmseg_domino::_base_/domino.py), but "
                f"the model that was built is a plain {type(model).__name__}: this program did "
                "not build the runner named by `runner_type`. Use `domino train` and `domino "
                "test`, or the complete config that training wrote into its work "
                "folder."
            )
