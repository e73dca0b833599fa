from .report import DominoReportHook
from .seed_iteration import SeedIterationHook

__all__ = ["DominoReportHook", "SeedIterationHook"]
