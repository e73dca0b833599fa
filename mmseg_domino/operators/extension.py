"""What stands under the name ``mmcv._ext`` where mmcv has no compiled operators."""

from collections.abc import Callable
from types import ModuleType

from mmengine.logging import print_log

from . import attention, boxes, convolution, losses, psa_mask

INSTALL = (
    "MMCV_WITH_OPS=1 pip install --no-build-isolation --no-deps --force-reinstall "
    "--no-binary :all: onedl-mmcv"
)


def _no_compiler() -> str:
    return "none: the stand-ins of mmseg_domino"


#: mmcv's name of an operator, and what computes it here.
OPERATORS: dict[str, Callable] = {
    "nms": boxes.nms,
    "softnms": boxes.soft_nms,
    "roi_align_forward": boxes.roi_align_forward,
    "roi_align_backward": boxes.roi_align_backward,
    "ms_deform_attn_forward": attention.ms_deform_attn_forward,
    "ms_deform_attn_backward": attention.ms_deform_attn_backward,
    "deform_conv_forward": convolution.deform_conv_forward,
    "deform_conv_backward_input": convolution.deform_conv_backward_input,
    "deform_conv_backward_parameters": convolution.deform_conv_backward_parameters,
    "modulated_deform_conv_forward": convolution.modulated_deform_conv_forward,
    "modulated_deform_conv_backward": convolution.modulated_deform_conv_backward,
    "sigmoid_focal_loss_forward": losses.sigmoid_focal_loss_forward,
    "sigmoid_focal_loss_backward": losses.sigmoid_focal_loss_backward,
    "psamask_forward": psa_mask.psamask_forward,
    "psamask_backward": psa_mask.psamask_backward,
    "get_compiler_version": _no_compiler,
    "get_compiling_cuda_version": _no_compiler,
}


def _missing(name: str) -> Callable:
    # mmcv asks at import for every operator there is; only calling one that is not here may fail.
    if name.startswith("__"):
        raise AttributeError(name)

    def refuse(*args, **kwargs):
        raise NotImplementedError(
            f"mmcv's operator {name!r} needs its compiled code, which is not installed, and is "
            f"not among the stand-ins of mmseg_domino ({', '.join(sorted(OPERATORS))}). Install "
            f"a compiler and then: {INSTALL}"
        )

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


def fill(module: ModuleType) -> None:
    """Give ``module`` the stand-ins, and a refusal by name for every other operator."""
    for name, function in OPERATORS.items():
        setattr(module, name, function)
    module.__getattr__ = _missing
    print_log(
        "mmcv has no compiled operators: PyTorch and torchvision stand in for those of "
        "segmentation and detection (mmseg_domino.operators; MMSEG_DOMINO_OPERATORS=0 turns "
        "this off)",
        logger="current",
    )
