from .attention_maps import AttentionMapProcessor, AttentionMaps
from .class_context import ClassContext
from .domain_adaptive_norm import DomainAdaptiveNorm
from .domain_modulation import DomainModulation
from .frozen_state import keep_out_frozen

__all__ = [
    "AttentionMapProcessor",
    "AttentionMaps",
    "ClassContext",
    "DomainAdaptiveNorm",
    "DomainModulation",
    "keep_out_frozen",
]
