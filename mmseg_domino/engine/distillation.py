"""A small network that learns from a large one's logits (arXiv 1503.02531).

Shapes: ``B`` batch, ``N`` classes, ``H W`` the training crop.
"""

from collections.abc import Mapping

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.utils import import_modules_from_strings
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.utils import add_prefix
from torch import Tensor
from torch.nn import functional as F

from ..models.conditioning import gather_domain
from ..models.segmentors import DominoEncoderDecoder
from ..utils.options import complete_options
from .loading import read_and_load
from .mixin import apply_domino

#: What ``teacher = dict(...)`` may hold, with its defaults.
TEACHER_OPTIONS = {
    "config": None,
    "checkpoint": None,
    # Of the distillation beside the student's own losses.
    "loss_weight": 1.0,
    # Both networks' logits are divided by it, and the loss multiplied by its square.
    "temperature": 1.0,
}


@MODELS.register_module()
class DominoDistilledEncoderDecoder(DominoEncoderDecoder):
    r"""A student that is trained on labels and on what a teacher says of the same crops.

    .. math:: L = L_{labels} + w\, T^2\, \mathrm{KL}(p_{teacher} \,\|\, p_{student})

    The teacher is a segmentor of this package with its own config and checkpoint; it sees the crop
    under the domain embedding that the sample carries, and is no part of the student's parameters,
    state or checkpoints. It is built when the first loss is computed, so a trained student needs
    nothing of it. The student may be a stock network without a domain.

    Args:
        teacher: :data:`TEACHER_OPTIONS`; ``config`` and ``checkpoint`` must be given.

    Raises:
        ValueError: If an option is unknown or missing, or the student's head gives no logits a
            class.
        CheckpointMismatchError: At the first loss, if the teacher's checkpoint is of another model.
    """

    def __init__(self, *args, teacher: Mapping, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.teacher_options = complete_options(teacher, TEACHER_OPTIONS, "teacher")
        if not self.teacher_options["config"] or not self.teacher_options["checkpoint"]:
            raise ValueError("teacher needs `config` and `checkpoint`")
        head = self.decode_head
        if not isinstance(head, BaseDecodeHead) or type(head).loss is not BaseDecodeHead.loss:
            raise ValueError(
                f"a student needs a head with logits a class; {type(head).__name__} has none to "
                "compare with the teacher's"
            )
        # A list hides the module from torch: no parameters, no state, no train().
        self._teacher: list[BaseModel] = []

    @property
    def teacher(self) -> BaseModel:
        """The teacher, frozen and in evaluation mode, built on first use."""
        if not self._teacher:
            cfg = apply_domino(Config.fromfile(self.teacher_options["config"]))
            if cfg.get("custom_imports"):
                import_modules_from_strings(**cfg.custom_imports)
            teacher = MODELS.build(cfg.model)
            read_and_load(teacher, self.teacher_options["checkpoint"])
            if teacher.num_classes != self.num_classes:
                raise ValueError(
                    f"the teacher has {teacher.num_classes} classes, the student {self.num_classes}"
                )
            self._teacher.append(teacher.eval().requires_grad_(False))
        return self._teacher[0]

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """The student's losses, and ``distillation.loss``."""
        with self._conditioned_on(gather_domain(data_samples, inputs)):
            features = self.extract_feat(inputs)
        logits = self.decode_head.forward(features)
        losses = add_prefix(self.decode_head.loss_by_feat(logits, data_samples), "decode")
        if self.with_auxiliary_head:
            losses.update(self._auxiliary_head_forward_train(features, data_samples))
        labels = torch.stack([sample.gt_sem_seg.data for sample in data_samples])
        known = labels != self.decode_head.ignore_index
        taught = self._teacher_logits(inputs, data_samples)
        logits = resize(logits, taught.shape[2:], mode="bilinear", align_corners=self.align_corners)
        value = distillation_loss(logits, taught, known, self.teacher_options["temperature"])
        losses["distillation.loss"] = self.teacher_options["loss_weight"] * value
        return losses

    @torch.no_grad()
    def _teacher_logits(self, inputs: Tensor, data_samples: list) -> Tensor:
        teacher = self.teacher.to(inputs.device)
        own, other = self.data_preprocessor, teacher.data_preprocessor
        pixels = inputs * own.std + own.mean
        if own._channel_conversion != other._channel_conversion:
            pixels = pixels.flip(1)
        pixels = (pixels - other.mean) / other.std
        metas = [{**sample.metainfo, "img_shape": pixels.shape[2:]} for sample in data_samples]
        with teacher._conditioned_on(gather_domain(data_samples, inputs)):
            return teacher.encode_decode(pixels, metas)


def distillation_loss(
    student: Tensor, teacher: Tensor, known: Tensor, temperature: float
) -> Tensor:
    """Mean divergence of the student's from the teacher's logits ``(B, N, H, W)``.

    It is that of the pixels ``known`` ``(B, 1, H, W)``, at the temperature, times its square.
    """
    target = (teacher.float() / temperature).log_softmax(dim=1)
    found = (student.float() / temperature).log_softmax(dim=1)
    divergence = F.kl_div(found, target, reduction="none", log_target=True).sum(dim=1, keepdim=True)
    return temperature**2 * (divergence * known).sum() / known.sum().clamp(min=1)
