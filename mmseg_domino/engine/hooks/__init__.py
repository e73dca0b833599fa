from .finite_weights import FiniteWeightsHook
from .report import DominoReportHook
from .seed_iteration import SeedIterationHook

__all__ = ["DominoReportHook", "FiniteWeightsHook", "SeedIterationHook"]
