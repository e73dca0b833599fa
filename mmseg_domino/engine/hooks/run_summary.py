"""Say what is about to run, and open the screen for its progress."""

from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from ..console import describe_recipe, describe_training


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Of :class:`~mmseg_domino.engine.DominoRunner`; the last to act before the first iteration."""

    priority = "LOWEST"

    def before_train(self, runner) -> None:
        runner.logger.info(describe_recipe(runner))
        runner.logger.info(describe_training(runner), extra={"console": True})
        runner.console.open = True

    def before_val(self, runner) -> None:
        runner.console.open = True

    def before_test(self, runner) -> None:
        runner.console.open = True
