"""mmdet's data preprocessor, able to make the domain embedding on the model's device."""

from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample

from ..models.data_preprocessor import DomainEmbedding


@MODELS.register_module()
class DominoDetDataPreprocessor(DomainEmbedding, DetDataPreprocessor):
    """``DetDataPreprocessor`` that gives every sample a domain embedding.

    The arguments are those of :class:`~mmseg_domino.models.DominoDataPreProcessor`, with
    ``DetDataPreprocessor``'s in place of ``SegDataPreProcessor``'s.
    """

    sample_class = DetDataSample
