from .class_embeddings import embed_classes, open_text_tower
from .domino_backbone import DominoBackbone
from .open_clip_vit import OpenClipViT
from .published_vpd import convert_published_vpd
from .sd_files import read_state_dict
from .sd_weights import open_weights
from .timm_vit import TimmViT
from .vpd import DominoVPD
from .vpd_verification import verify_vpd

__all__ = [
    "DominoBackbone",
    "DominoVPD",
    "OpenClipViT",
    "TimmViT",
    "convert_published_vpd",
    "embed_classes",
    "open_text_tower",
    "open_weights",
    "read_state_dict",
    "verify_vpd",
]
