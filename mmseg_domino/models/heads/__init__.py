from .eomt_head import EoMTHead
from .mask_loss import MaskSetLoss

__all__ = ["EoMTHead", "MaskSetLoss"]
