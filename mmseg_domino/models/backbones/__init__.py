from .domino_backbone import DominoBackbone
from .open_clip_vit import OpenClipViT
from .timm_vit import TimmViT
from .vpd import DominoVPD

__all__ = ["DominoBackbone", "DominoVPD", "OpenClipViT", "TimmViT"]
