from .eomt_head import EoMTHead
from .mask_loss import MaskSetLoss
from .rein_head import ReinMask2FormerHead

__all__ = ["EoMTHead", "MaskSetLoss", "ReinMask2FormerHead"]
