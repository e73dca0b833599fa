"""Records of mmcv's compiled operators: small inputs, outputs and gradients.

    python -m tests.operators.records

makes ``tests/operators/data`` anew and needs an mmcv with compiled operators. The records in the
repository are of onedl-mmcv 2.3.6 on a CPU, for which mmcv has no compiled deformable attention.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

DATA = Path(__file__).parent / "data"


def _boxes(count: int, seed: int, size: float = 40.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * size - 6
    return torch.cat([corner, corner + torch.rand(count, 2, generator=generator) * size], 1)


def _uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _nms_cases():
    scores = _uniform(40, seed=1).abs()
    for threshold in (0.1, 0.5, 0.9):
        for offset in (0, 1):
            inputs = {"boxes": _boxes(40, 0), "scores": scores}
            yield inputs, {"iou_threshold": threshold, "offset": offset}
    one = {"boxes": _boxes(1, 2), "scores": torch.ones(1)}
    none = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}
    flat = {"boxes": _boxes(8, 3)[:, [0, 1, 0, 1]], "scores": _uniform(8, seed=4).abs()}
    for inputs in (one, none, flat):
        yield inputs, {"iou_threshold": 0.5, "offset": 0}


def _soft_nms_cases():
    for inputs, options in _nms_cases():
        # mmcv's Gaussian turns the scores of boxes without area into NaN.
        flat = (inputs["boxes"][:, :2] == inputs["boxes"][:, 2:]).any()
        for method in ("naive", "linear", *([] if flat else ["gaussian"])):
            yield inputs, {**options, "method": method, "min_score": 0.05}


def _roi_align_cases():
    features = _uniform(3, 2, 10, 14, seed=5)
    rois = torch.cat([torch.tensor([[0.0], [2], [1], [0], [2], [1]]), _boxes(6, 6)], 1)
    rois[4, 1:] = torch.tensor([5.0, 6.0, 5.0, 6.0])  # no area
    rois[5, 1:] = torch.tensor([500.0, 600.0, 520.0, 640.0])  # outside the image
    for mode in ("avg", "max"):
        for aligned in (True, False):
            for ratio in (0, 1, 3):
                options = {"output_size": [3, 2], "spatial_scale": 0.25, "sampling_ratio": ratio,
                           "pool_mode": mode, "aligned": aligned}  # fmt: skip
                yield {"input": features, "rois": rois}, options
        yield {"input": features, "rois": rois[:1]}, {**options, "pool_mode": mode}
        yield {"input": features, "rois": rois[:0]}, {**options, "pool_mode": mode}


def _psa_mask_cases():
    for psa_type in ("collect", "distribute"):
        for height, width, mask in ((3, 4, (5, 7)), (4, 3, (3, 3)), (5, 5, (3, 5)), (2, 2, (2, 4))):
            inputs = {"input": _uniform(2, mask[0] * mask[1], height, width, seed=7)}
            yield inputs, {"psa_type": psa_type, "mask_size": list(mask)}


def _deform_conv_cases(modulated: bool = False):
    for stride, padding, dilation, groups, deform_groups in (
        (1, 1, 1, 1, 1), (2, 0, 1, 1, 2), (1, 2, 2, 2, 1),
    ):  # fmt: skip
        size = (8 + 2 * padding - dilation * 2 - 1) // stride + 1
        inputs = {
            "input": _uniform(2, 4, 8, 8, seed=8),
            "offset": 3 * _uniform(2, deform_groups * 18, size, size, seed=9),
            "weight": _uniform(6, 4 // groups, 3, 3, seed=10),
        }
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
                   "deform_groups": deform_groups}  # fmt: skip
        if modulated:
            inputs["mask"] = _uniform(2, deform_groups * 9, size, size, seed=11).sigmoid()
            yield {**inputs, "bias": _uniform(6, seed=12)}, options
        yield inputs, options


CASES = {
    "nms": _nms_cases,
    "soft_nms": _soft_nms_cases,
    "roi_align": _roi_align_cases,
    "psa_mask": _psa_mask_cases,
    "deform_conv": _deform_conv_cases,
    "modulated_deform_conv": lambda: _deform_conv_cases(modulated=True),
}


def call(operator: str, inputs: dict[str, Tensor], options: dict) -> dict[str, Tensor]:
    """Outputs of mmcv's public operator and, where there are any, gradients of their sum of sines.

    (The gradient of a plain sum is the same at every place of the output.)
    """
    from mmcv import ops

    if operator in ("nms", "soft_nms"):
        dets, kept = getattr(ops, operator)(**inputs, **options)
        return {"dets": dets, "kept": kept}
    leaves = {
        name: tensor.clone().requires_grad_(name != "rois") for name, tensor in inputs.items()
    }
    if operator == "roi_align":
        output = ops.roi_align(*leaves.values(), *options.values())
    elif operator == "psa_mask":
        output = ops.PSAMask(**options)(leaves["input"])
    elif operator == "deform_conv":
        output = ops.deform_conv2d(*leaves.values(), *options.values())
    else:
        order = [leaves.get(name) for name in ("input", "offset", "mask", "weight", "bias")]
        output = ops.modulated_deform_conv2d(*order, *options.values())
    output.sin().sum().backward()
    found = {"output": output.detach()}
    return found | {f"grad_{n}": t.grad for n, t in leaves.items() if t.requires_grad}


def record() -> None:
    """Run every case with the mmcv at hand and write what came out."""
    DATA.mkdir(exist_ok=True)
    for operator, cases in CASES.items():
        tensors, options = {}, []
        for number, (inputs, settings) in enumerate(cases()):
            options.append(json.dumps(settings))
            for name, tensor in inputs.items():
                tensors[f"{number}.in.{name}"] = tensor.contiguous().clone()
            for name, tensor in call(operator, inputs, settings).items():
                tensors[f"{number}.out.{name}"] = tensor.contiguous().clone()
        metadata = {str(number): text for number, text in enumerate(options)}
        save_file(tensors, DATA / f"{operator}.safetensors", metadata=metadata)


def recorded(operator: str):
    """Yield ``(inputs, options, outputs)`` of each recorded case."""
    with safe_open(DATA / f"{operator}.safetensors", "pt") as file:
        for number, text in sorted(file.metadata().items(), key=lambda item: int(item[0])):
            parts = {"in": {}, "out": {}}
            for key in file.keys():  # noqa: SIM118  the file is no mapping
                case, part, name = key.split(".")
                if case == number:
                    parts[part][name] = file.get_tensor(key)
            yield parts["in"], json.loads(text), parts["out"]


if __name__ == "__main__":
    record()
