from .domain_adaptive_norm import DomainAdaptiveNorm
from .domain_modulation import DomainModulation

__all__ = ["DomainAdaptiveNorm", "DomainModulation"]
