from . import backbones, layers, necks, segmentors

__all__ = ["backbones", "layers", "necks", "segmentors"]
