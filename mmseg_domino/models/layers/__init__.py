from .attention_maps import AttentionMapProcessor
from .class_context import ClassContext
from .domain_adaptive_norm import DomainAdaptiveNorm
from .domain_modulation import DomainModulation, TiedModulation
from .domain_norms import DomainNorms

__all__ = [
    "AttentionMapProcessor",
    "ClassContext",
    "DomainAdaptiveNorm",
    "DomainModulation",
    "DomainNorms",
    "TiedModulation",
]
