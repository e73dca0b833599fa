from .atomic_checkpoint import AtomicCheckpointHook
from .finite_weights import FiniteWeightsHook
from .report import DominoReportHook
from .run_summary import RunSummaryHook
from .seed_iteration import SeedIterationHook
from .visualization import PrintableVisualizationHook

__all__ = [
    "AtomicCheckpointHook",
    "DominoReportHook",
    "FiniteWeightsHook",
    "PrintableVisualizationHook",
    "RunSummaryHook",
    "SeedIterationHook",
]
