"""Detectors that carry each image's domain embedding to the backbone and the neck."""

from collections.abc import Mapping
from functools import cache

from mmdet.models.detectors import (
    BaseDetector,
    DetectionTransformer,
    SingleStageDetector,
    TwoStageDetector,
)
from mmdet.models.detectors.single_stage_instance_seg import SingleStageInstanceSegmentor
from mmdet.registry import MODELS

from ..models.channels import fit_head, fit_neck
from ..models.conditioning import DomainConditioned

#: Whose ``extract_feat`` is the backbone and then the neck, which is what Domino's does.
_SERVED = (
    SingleStageDetector, SingleStageInstanceSegmentor, TwoStageDetector, DetectionTransformer,
)  # fmt: skip
#: Heads that read the backbone where there is no neck.
_HEADS = ("panoptic_head", "mask_head", "bbox_head", "rpn_head")


class _ConditionedDetector(DomainConditioned):
    """What Domino adds to a stock detector."""

    def __init__(self, *args, backbone: dict, neck: dict | None = None, **kwargs) -> None:
        built = MODELS.build(backbone)
        if neck is None:
            for name in set(_HEADS) & set(kwargs):
                kwargs[name] = fit_head(kwargs[name], built)
        super().__init__(
            *args,
            # The host builds what it is given a config of; this one has been built already.
            backbone=dict(type=lambda: built),
            neck=fit_neck(neck, built),
            **kwargs,
        )


@cache
def domino_detector(detector: type[BaseDetector]) -> type[BaseDetector]:
    """The class of a stock detector that carries domain embeddings.

    Args:
        detector: A class of mmdet's, or one of its kind: single-stage, two-stage, a detection
            transformer or a mask transformer.

    Raises:
        ValueError: If its features are not those of a backbone and a neck, so that nobody here
            knows where the embedding would go.
    """
    stock = {vars(base)["extract_feat"] for base in _SERVED}
    found = next((vars(c)["extract_feat"] for c in detector.__mro__ if "extract_feat" in vars(c)),
                 None)  # fmt: skip
    if issubclass(detector, DomainConditioned) or found not in stock:
        raise ValueError(
            f"Domino cannot wrap the backbone of {detector.__name__}: its extract_feat is not that "
            f"of {', '.join(base.__name__ for base in _SERVED)} (features = neck(backbone(images)))"
            ", so where the embedding belongs is not known"
        )
    return type(f"Domino{detector.__name__}", (_ConditionedDetector, detector), {
        "__module__": __name__, "__doc__": f"{detector.__name__} with domain embeddings.",
    })  # fmt: skip


@MODELS.register_module()
def DominoDetector(detector: str | type, backbone: Mapping, **kwargs) -> BaseDetector:
    """Any of mmdet's detectors, with domain embeddings.

    A backbone or neck whose class says ``accepts_domain = True`` is called with the embeddings of
    the batch's samples, in training, testing and test-time augmentation; every other part, the
    names of the parameters and the arguments are the stock detector's. Over ``DominoVPD``, a neck
    without ``in_channels`` takes the backbone's.

    Args:
        detector: Name or class of the stock detector, such as ``'MaskRCNN'``.
        backbone: Config of the backbone.
        **kwargs: The other arguments of the detector.

    Raises:
        ValueError: If there is no such detector, or its backbone cannot be wrapped.
    """
    kind = MODELS.get(detector) if isinstance(detector, str) else detector
    if not isinstance(kind, type) or not issubclass(kind, BaseDetector):
        raise ValueError(
            f"DominoDetector.detector must name one of mmdet's detectors, got {detector!r}"
        )
    return domino_detector(kind)(backbone=backbone, **kwargs)
