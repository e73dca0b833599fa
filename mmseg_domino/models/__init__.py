from . import backbones, heads, layers, necks, segmentors
from .data_preprocessor import DominoDataPreProcessor

__all__ = ["DominoDataPreProcessor", "backbones", "heads", "layers", "necks", "segmentors"]
