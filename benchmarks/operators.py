"""The stand-ins for mmcv's operators beside the compiled ones, and a whole Mask2Former step.

    python benchmarks/operators.py [--compiled FILE] [--device cpu] [--small]
        [--parts operators attention step]

FILE is the ``_ext*.so`` of an mmcv with compiled operators (of this Python and PyTorch); mmcv
itself may be installed without. Each operator runs forward and backward through mmcv's own classes
with either behind them, by turns. mmcv compiles no deformable attention for CPUs: there it is
compared with mmcv's PyTorch function, which mmcv runs in its place, and, where there is a C++
compiler, with the loops of ``deformable_attention.cpp`` on one core. Ratios are the stand-in's time
over the other's.
"""

import argparse
import ctypes
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest import mock

import mmcv.ops
import mmseg
import torch
from measuring import Times, describe, interleave
from mmcv.ops import multi_scale_deform_attn as attention_module
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.operators import which_operators

PARTS = ("operators", "attention", "step")
CONFIG = "mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py"


def load_compiled(path: Path):
    """The extension module in a file, whatever it is called."""
    spec = importlib.util.spec_from_file_location(path.name.split(".")[0], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def behind(name: str, extension) -> Callable[[Callable], Callable]:
    """Run a call with another extension module behind ``mmcv.ops.<name>``."""
    module = sys.modules[f"mmcv.ops.{name}"]

    def wrap(call: Callable) -> Callable:
        def run():
            with mock.patch.object(module, "ext_module", extension):
                return call()

        return run

    return wrap


def forward_backward(function: Callable, *inputs) -> Callable[[], None]:
    def run() -> None:
        leaves = [t.detach().requires_grad_() for t in inputs]
        function(*leaves).square().sum().backward()

    return run


def operator_calls(small: bool, device: torch.device) -> dict[str, tuple[str, Callable]]:
    """For each operator, its module in mmcv and a call of it."""
    torch.manual_seed(0)
    scale = 4 if small else 1
    boxes = torch.rand(2000 // scale, 4, device=device) * 500
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.rand(len(boxes), device=device)
    rois = torch.cat([torch.zeros(512 // scale, 1, device=device), boxes[: 512 // scale]], 1)
    features = torch.randn(1, 256 // scale, 128 // scale, 256 // scale, device=device)
    x = torch.randn(1, 128 // scale, 64, 128, device=device)
    side = 33 // scale
    attention = torch.randn(1, (2 * side - 1) ** 2, side, side, device=device)
    plain = mmcv.ops.DeformConv2dPack(x.shape[1], x.shape[1], 3, padding=1).to(device)
    modulated = mmcv.ops.ModulatedDeformConv2dPack(x.shape[1], x.shape[1], 3, padding=1).to(device)
    align = mmcv.ops.RoIAlign((7, 7), 0.25, 0)
    mask = mmcv.ops.PSAMask("collect", (2 * side - 1, 2 * side - 1))
    return {
        "nms": ("nms", lambda: mmcv.ops.nms(boxes, scores, 0.5)),
        "soft_nms": ("nms", lambda: mmcv.ops.soft_nms(boxes[:200], scores[:200])),
        "roi_align": ("roi_align", forward_backward(lambda f: align(f, rois), features)),
        "psa_mask": ("psa_mask", forward_backward(mask, attention)),
        "deform_conv": ("deform_conv", forward_backward(plain, x)),
        "modulated_deform_conv": ("modulated_deform_conv", forward_backward(modulated, x)),
    }


def stand_in_attention(value, shapes, locations, weights):
    """The stand-in with the arguments of mmcv's PyTorch function."""
    starts = torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])
    function = attention_module.MultiScaleDeformableAttnFunction
    return function.apply(value, shapes, starts, locations, weights, 64)


def compiled_loops() -> ModuleType | None:
    """The loops in C++ under mmcv's names of the operators; None without a compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library, source = Path(folder, "loops.so"), Path(__file__).with_suffix(".cpp")
        source = source.with_stem("deformable_attention")
        flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, "-o", library, source], check=True)
        loaded = ctypes.CDLL(str(library))

    def run(function, sizes, *tensors) -> None:
        assert all(t.is_contiguous() for t in tensors)
        pointers = (ctypes.c_void_p(t.data_ptr()) for t in tensors)
        function((ctypes.c_int * len(sizes))(*sizes), *pointers)

    def sizes_of(value, locations) -> tuple[int, ...]:
        return (*value.shape, locations.shape[1], *locations.shape[3:5])

    def forward(value, shapes, starts, locations, weights, im2col_step):
        output = value.new_zeros(len(value), locations.shape[1], value[0, 0].numel())
        sizes = sizes_of(value, locations)
        run(loaded.forward, sizes, value, shapes, starts, locations, weights, output)
        return output

    def backward(value, shapes, starts, locations, *rest, im2col_step) -> None:
        sizes = sizes_of(value, locations)
        run(loaded.backward, sizes, value, shapes, starts, locations, *rest)

    module = ModuleType("loops")
    module.ms_deform_attn_forward, module.ms_deform_attn_backward = forward, backward
    return module


def attention_calls(small: bool, device: torch.device, compiled) -> dict[str, Callable]:
    """Deformable attention of Mask2Former's pixel decoder for 512 x 1024 pixels."""
    torch.manual_seed(0)
    side = 128 if small else 512
    sizes = [(side // s, 2 * side // s) for s in (8, 16, 32)]
    shapes = torch.tensor(sizes, device=device)
    count = sum(h * w for h, w in sizes)
    value = torch.randn(1, count, 8, 32, device=device)
    locations = torch.rand(1, count, 8, 3, 4, 2, device=device)
    weights = torch.rand(1, count, 8, 3, 4, device=device)

    def call(function: Callable) -> Callable:
        return forward_backward(
            lambda v, p, w: function(v, shapes, p, w), value, locations, weights
        )

    reference = attention_module.multi_scale_deformable_attn_pytorch
    calls = {"stand-in": call(stand_in_attention), "mmcv's PyTorch": call(reference)}
    other = compiled if device.type == "cuda" else compiled_loops()
    if other is not None:
        name = "compiled" if device.type == "cuda" else "loops in C++"
        with mock.patch.object(attention_module, "ext_module", other):
            found = stand_in_attention(value, shapes, locations, weights)
        torch.testing.assert_close(found, reference(value, shapes, locations, weights))
        wrap = behind("multi_scale_deform_attn", other)
        calls[name] = wrap(call(stand_in_attention))
    return calls


def step_calls(small: bool, device: torch.device) -> dict[str, Callable]:
    """A training step of stock Mask2Former, ResNet-50, one image of 512 x 1024."""
    cfg = Config.fromfile(Path(mmseg.__file__).parent / ".mim" / "configs" / CONFIG)
    cfg.model.backbone.init_cfg = None
    cfg.model.backbone.norm_cfg.type = "BN"
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train().to(device)
    size = (128, 256) if small else (512, 1024)
    image = torch.randn(1, 3, *size, device=device)
    label = torch.randint(0, 19, (1, size[0] // 32, size[1] // 32), device=device)
    label = label.repeat_interleave(32, 1).repeat_interleave(32, 2)
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=label), metainfo=dict(img_shape=size, pad_shape=size)
    )

    def step() -> None:
        model.zero_grad()
        losses = model(image, [sample], mode="loss")
        sum(value for key, value in losses.items() if "loss" in key).backward()

    def other() -> None:
        with mock.patch.object(
            attention_module, "multi_scale_deformable_attn_pytorch", stand_in_attention
        ):
            step()

    return {"stand-in": other, "mmcv's PyTorch": step}


def report(name: str, times: dict[str, Times], ours: str) -> None:
    for other, measured in times.items():
        if other != ours:
            print(
                f"{name:24} {1000 * times[ours].cpu:10.1f} {1000 * measured.cpu:10.1f} "
                f"{times[ours].cpu / measured.cpu:8.2f} {times[ours].wall / measured.wall:8.2f}"
                f"   {other}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--compiled", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="seconds: checks the script itself")
    args = parser.parse_args()
    if which_operators() != "stand-ins":
        parser.error(f"mmcv's operators are {which_operators()} here; give theirs by --compiled")
    init_default_scope("mmseg")
    device = torch.device(args.device)
    compiled = load_compiled(args.compiled) if args.compiled else None
    print(describe(device))
    print(f"{'':24} {'ours':>10} {'other':>10} {'ratio':>8} {'ratio':>8}   other")
    print(f"{'':24} {'CPU ms':>10} {'CPU ms':>10} {'CPU':>8} {'clock':>8}")
    if compiled is not None and "operators" in args.parts:
        ours = sys.modules["mmcv._ext"]
        for name, (module, call) in operator_calls(args.small, device).items():
            calls = {key: behind(module, ext)(call) for key, ext in
                     (("stand-in", ours), ("compiled", compiled))}  # fmt: skip
            report(name, interleave(calls, device, args.repeats), "stand-in")
    if "attention" in args.parts:
        calls = attention_calls(args.small, device, compiled)
        report("deformable attention", interleave(calls, device, args.repeats), "stand-in")
    if "step" in args.parts:
        calls = step_calls(args.small, device)
        repeats = max(args.repeats // 2, 1)
        report("Mask2Former step", interleave(calls, device, repeats), "stand-in")


if __name__ == "__main__":
    main()
