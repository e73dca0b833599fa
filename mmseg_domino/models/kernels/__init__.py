"""How things are computed, where PyTorch's own way is slow or not precise enough.

The names below are all that the rest needs. What is computed with them is what PyTorch computes, to
rounding.
"""

from .cpu import attention
from .cpu import use_onednn_layers as use_fast_linear_layers
from .precision import full_precision, is_exporting

__all__ = ["attention", "full_precision", "is_exporting", "use_fast_linear_layers"]
