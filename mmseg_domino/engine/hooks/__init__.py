from .atomic_checkpoint import AtomicCheckpointHook
from .averaging import AveragingHook
from .finite_weights import FiniteWeightsHook
from .report import DominoReportHook, first_view, input_picture
from .run_summary import RunSummaryHook
from .seed_iteration import SeedIterationHook
from .visualization import PrintableVisualizationHook

__all__ = [
    "AtomicCheckpointHook",
    "AveragingHook",
    "DominoReportHook",
    "FiniteWeightsHook",
    "PrintableVisualizationHook",
    "RunSummaryHook",
    "SeedIterationHook",
    "first_view",
    "input_picture",
]
