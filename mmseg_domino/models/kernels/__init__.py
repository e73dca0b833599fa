"""How things are computed, where PyTorch's own way is slow or not precise enough.

Three names are all that the rest needs: :func:`attention`, :func:`use_fast_linear_layers` and
:func:`full_precision`. Each gives PyTorch's results, to rounding.
"""

from .cpu import attention
from .cpu import use_onednn_layers as use_fast_linear_layers
from .precision import full_precision

__all__ = ["attention", "full_precision", "use_fast_linear_layers"]
