from .domino_backbone import DominoBackbone
from .vpd import DominoVPD

__all__ = ["DominoBackbone", "DominoVPD"]
