"""Averaged weights of models whose frozen weights are in no checkpoint."""

from mmengine.hooks import EMAHook
from mmseg.registry import HOOKS


@HOOKS.register_module()
class AveragingHook(EMAHook):
    """MMEngine's hook, whose average has the model's frozen weights from the start.

    MMEngine copies the model before its weights are read, and until averaging begins keeps the copy
    up to date by state dicts, which leave out frozen weights with ``save_frozen=False``. The copy
    would validate, and write checkpoints, over random ones. :class:`DominoRunner` puts this one in
    its place; the arguments are the same.
    """

    def before_train(self, runner) -> None:
        super().before_train(runner)
        pairs = zip(self.ema_model.module.modules(), self.src_model.modules(), strict=True)
        for averaged, source in pairs:
            for name, value in source._parameters.items():
                if value is not None and not value.requires_grad:
                    averaged._parameters[name].data.copy_(value.data)
            for name in source._non_persistent_buffers_set:
                if source._buffers[name] is not None:
                    averaged._buffers[name].copy_(source._buffers[name])
