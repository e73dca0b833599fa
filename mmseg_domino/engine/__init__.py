from .hooks import SeedIterationHook
from .launch import add_common_arguments, build_runner, load_config
from .runner import DominoGuardHook, DominoRunner

__all__ = [
    "DominoGuardHook",
    "DominoRunner",
    "SeedIterationHook",
    "add_common_arguments",
    "build_runner",
    "load_config",
]
