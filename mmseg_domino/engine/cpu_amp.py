"""Mixed precision on a CPU: whether it pays, and the optimiser wrapper for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn

#: What the kernel calls the units that multiply in bfloat16: x86's two, and ARM's.
_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
_CPUINFO = Path("/proc/cpuinfo")


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16 on a CPU, which MMEngine's ``AmpOptimWrapper`` refuses.

    Takes the arguments of ``OptimWrapper``. bfloat16 has float32's range, so losses are not
    scaled.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute the model's forward pass under autocast."""
        with super().optim_context(model), torch.autocast("cpu", torch.bfloat16):
            yield


def cpu_bfloat16_units() -> tuple[str, ...]:
    """Names of this CPU's units for bfloat16, as the kernel lists them; none if it is not Linux."""
    if not _CPUINFO.is_file():
        return ()
    for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return tuple(flag for flag in _FLAGS if flag in value.split())
    return ()


def enable_on_cpu(cfg: Config, dtype: str | None) -> None:
    if dtype == "float16":
        raise RuntimeError(
            "automatic mixed precision in float16 is refused on the CPU: losses would need "
            "scaling there. Use bfloat16, or a GPU."
        )
    units = cpu_bfloat16_units()
    if not units:
        raise RuntimeError(
            "automatic mixed precision is refused on this CPU: it has no hardware for bfloat16 "
            f"(none of {', '.join(_FLAGS)} among its flags), and without it convolutions take "
            "longer than in float32. Train without it (leave --amp away), or on a GPU."
        )
    # Losses are not scaled in bfloat16, and the type decides the precision.
    for key in ("dtype", "loss_scale", "use_fsdp"):
        cfg.optim_wrapper.pop(key, None)
    cfg.optim_wrapper.type = "CPUAmpOptimWrapper"
    print_log(f"mixed precision in bfloat16 on the CPU ({', '.join(units)})", logger="current")
