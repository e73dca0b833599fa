"""mmdet's data preprocessor, able to make the domain embedding on the model's device."""

from collections.abc import Mapping, Sequence

from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample

from ..models.data_preprocessor import DomainEmbedding


@MODELS.register_module()
class DominoDetDataPreprocessor(DomainEmbedding, DetDataPreprocessor):
    """``DetDataPreprocessor`` that gives every sample a domain embedding.

    As :class:`~mmseg_domino.models.DominoDataPreProcessor` does it, which documents the arguments
    from ``domain_encoder`` on.

    Args:
        domain_encoder: See there, as for the arguments that follow.
        source: See there.
        space: See there.
        temperature: See there.
        assign: See there.
        prototypes: See there.
        encode_in_training: See there.
        domain_table: See there.
        rgb_to_bgr: See ``DetDataPreprocessor``; if set, images that come in are RGB, else BGR.
        **kwargs: The other arguments of ``DetDataPreprocessor``.
    """

    sample_class = DetDataSample

    def __init__(
        self,
        domain_encoder: Mapping | None = None,
        source: str = "soft",
        space: str | Sequence[str] = "context",
        temperature: float | None = None,
        assign: str | None = None,
        prototypes: str | Mapping[str, str] | None = None,
        encode_in_training: bool = False,
        domain_table: Mapping | None = None,
        rgb_to_bgr: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(rgb_to_bgr=rgb_to_bgr, **kwargs)
        self._embed_with(
            rgb_to_bgr, domain_encoder, source, space, temperature, assign, prototypes,
            encode_in_training, domain_table,
        )  # fmt: skip
