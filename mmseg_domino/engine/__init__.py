from . import inferencer  # noqa: F401  serves MMSegInferencer
from .amp import enable_amp
from .checkpoints import load_from_safetensors, newest_checkpoint
from .distillation import DominoDistilledEncoderDecoder
from .hooks import (
    AtomicCheckpointHook,
    AveragingHook,
    DominoReportHook,
    FiniteWeightsHook,
    SeedIterationHook,
    first_view,
    input_picture,
)
from .launch import build_runner, load_config
from .loading import (
    CheckpointMismatchError,
    LoadReport,
    NonFiniteWeightsError,
    load_weights,
    read_and_load,
)
from .mixin import apply_domino
from .optimizers import DominoOptimWrapperConstructor, parameter_groups
from .record import describe_run, record_results, report_hook, write_tables
from .runner import DominoGuardHook, DominoRunner
from .sharding import FullyShard
from .testing import (
    for_this_run,
    save_predictions,
    show_predictions,
    use_test_time_augmentation,
)

__all__ = [
    "AtomicCheckpointHook",
    "AveragingHook",
    "CheckpointMismatchError",
    "DominoDistilledEncoderDecoder",
    "DominoGuardHook",
    "DominoOptimWrapperConstructor",
    "DominoReportHook",
    "DominoRunner",
    "FiniteWeightsHook",
    "FullyShard",
    "LoadReport",
    "NonFiniteWeightsError",
    "SeedIterationHook",
    "apply_domino",
    "build_runner",
    "describe_run",
    "enable_amp",
    "first_view",
    "for_this_run",
    "input_picture",
    "load_config",
    "load_from_safetensors",
    "load_weights",
    "newest_checkpoint",
    "parameter_groups",
    "read_and_load",
    "record_results",
    "report_hook",
    "save_predictions",
    "show_predictions",
    "use_test_time_augmentation",
    "write_tables",
]
