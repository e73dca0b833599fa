from . import backbones, layers, necks, segmentors
from .data_preprocessor import DominoDataPreProcessor

__all__ = ["DominoDataPreProcessor", "backbones", "layers", "necks", "segmentors"]
