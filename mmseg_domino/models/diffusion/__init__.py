"""Stable Diffusion as a feature extractor: its files, weights, text tower and forward pass."""

from .class_embeddings import embed_classes
from .files import read_state_dict
from .published_checkpoints import convert_published_vpd
from .text_towers import open_text_tower
from .weights import open_weights

__all__ = [
    "convert_published_vpd",
    "embed_classes",
    "open_text_tower",
    "open_weights",
    "read_state_dict",
]
