"""Stable Diffusion as a feature extractor: its files, weights, text tower and forward pass."""

from .class_embeddings import embed_classes, open_text_tower
from .files import read_state_dict
from .unet_weights import open_weights
from .vpd_checkpoints import convert_published_vpd

__all__ = [
    "convert_published_vpd",
    "embed_classes",
    "open_text_tower",
    "open_weights",
    "read_state_dict",
]
