"""Which of a diffusion UNet's parameters are trained."""

from collections.abc import Mapping

from torch import nn

from ..adapters.lora import add_lora, lora_parameters
from ..layers.domain_affine import is_norm

__all__ = ["ATTENTION_PROJECTIONS", "FINETUNE", "prepare_finetuning"]

FINETUNE = ("full", "frozen", "lora", "norms")
#: The projections of every attention layer, which LoRA adapts unless told otherwise.
ATTENTION_PROJECTIONS = r"\.attn[12]\.(to_q|to_k|to_v|to_out\.0)$"


def prepare_finetuning(unet: nn.Module, finetune: str, lora: Mapping | None = None) -> None:
    """Say which parameters are trained, and add adapters if asked.

    Args:
        unet: The UNet, changed in place.
        finetune: ``"full"``: all. ``"frozen"``: none. ``"lora"``: low-rank adapters beside its
            attention projections. ``"norms"``: scale and shift of its normalisation layers.
        lora: See :data:`~mmseg_domino.models.adapters.lora.LORA_OPTIONS`; ``targets`` are by
            default :data:`ATTENTION_PROJECTIONS`.

    Raises:
        ValueError: For an unknown mode, or options of LoRA without it.
    """
    if finetune not in FINETUNE:
        raise ValueError(f"finetune must be one of {', '.join(FINETUNE)}; got {finetune!r}")
    if lora is not None and finetune != "lora":
        raise ValueError(f"`lora` goes with finetune='lora', got finetune={finetune!r}")
    if finetune == "lora":
        add_lora(unet, {"targets": ATTENTION_PROJECTIONS, **(lora or {})})
    unet.requires_grad_(finetune == "full")
    if finetune == "lora":
        trained = lora_parameters(unet)
    elif finetune == "norms":
        trained = [p for m in unet.modules() if is_norm(m) for p in m.parameters(recurse=False)]
    else:
        trained = []
    for parameter in trained:
        parameter.requires_grad_(True)
