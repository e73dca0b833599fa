from .attention_maps import AttentionMapProcessor, AttentionMaps
from .class_context import ClassContext
from .domain_adaptive_norm import DomainAdaptiveNorm
from .domain_modulation import DomainModulation

__all__ = [
    "AttentionMapProcessor",
    "AttentionMaps",
    "ClassContext",
    "DomainAdaptiveNorm",
    "DomainModulation",
]
