"""Exported models, run with onnxruntime or PyTorch alone.

Nothing here imports MMSegmentation or its foundations, diffusers or open_clip, and PyTorch only
where a folder holds PyTorch's graphs.
"""

from .manifest import ExportedModelError, read_manifest
from .prediction import Prediction
from .segmenter import Segmenter

__all__ = ["ExportedModelError", "Prediction", "Segmenter", "read_manifest"]
