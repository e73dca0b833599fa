"""Exported models against the training stack: images a second, side by side in one run.

    python benchmarks/inference.py                    # SegFormer-B0 on 512 x 1024, two threads
    python benchmarks/inference.py --small            # seconds: checks the script itself
    python benchmarks/inference.py --formats onnx torch --clip ViT-L-14

The model is MMSegmentation's SegFormer-B0 with Domino's mix-in and random weights. Both sides take
a decoded image and give its label map with the same number of threads, by turns. In the first rows
the domain is given; in the last CLIP sees the image, too, and the note says what share of the time
that is. `plain` is ``domino segment CONFIG CHECKPOINT``, ``ours`` is ``--model FOLDER``.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import open_clip
import torch
from measuring import Report, Row, describe, interleave
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.utils import get_classes, get_palette

from mmseg_domino.apps.export import export_model
from mmseg_domino.apps.inference import init_domino_model, predict_image
from mmseg_domino.engine import apply_domino
from mmseg_domino.inference import Prediction, Segmenter

CONFIG = """
_base_ = ['mmseg::_base_/models/segformer_mit-b0.py', 'mmseg_domino::_base_/domino.py']
custom_imports = dict(imports=['mmseg_domino.plugin'], allow_failed_imports=False)
default_scope = 'mmseg'
test_pipeline = [dict(type='LoadCheckedImage'), dict(type='PackDominoInputs')]
domino = dict(
    encode='none', domain_channels={width}, space='joint', metric=False,
    encoder=dict(model={clip!r}, pretrained='random', bank='acdc'),
)
model = dict(data_preprocessor=dict(
    type='DominoDataPreProcessor', space='joint',
    domain_encoder=dict(model={clip!r}, pretrained='random', bank='acdc')))
"""
GOAL = 1.2


def joint_width(clip: str) -> int:
    """Of a model of open_clip by its name, or of one in a folder."""
    folder = Path(clip)
    if folder.is_dir():
        config = json.loads((folder / "open_clip_config.json").read_text("utf-8"))["model_cfg"]
    else:
        config = open_clip.get_model_config(clip)
    return config["embed_dim"]


def write_model(folder: Path, clip: str) -> tuple[Path, Path]:
    """Config and checkpoint of a SegFormer-B0 with random weights."""
    config, checkpoint = folder / "config.py", folder / "model.pth"
    config.write_text(CONFIG.format(clip=clip, width=joint_width(clip)))
    init_default_scope("mmseg")
    torch.manual_seed(0)
    model = MODELS.build(apply_domino(Config.fromfile(config)).model)
    meta = {"classes": get_classes("cityscapes"), "palette": get_palette("cityscapes")}
    torch.save({"state_dict": model.state_dict(), "meta": {"dataset_meta": meta}}, checkpoint)
    return config, checkpoint


def measure(
    calls: dict[str, Callable[[], Prediction]], repeats: int, clock: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Images a second of each, and on how many pixels it says what the first says, in percent."""
    labels = {name: call().labels for name, call in calls.items()}
    first = next(iter(labels.values()))
    same = {name: 100 * float((found == first).mean()) for name, found in labels.items()}
    times = interleave(calls, torch.device("cpu"), repeats)
    return {name: 1 / getattr(time, clock) for name, time in times.items()}, same


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--formats", nargs="+", choices=("onnx", "torch"), default=["onnx", "torch"]
    )
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), default=(512, 1024))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clip", default="ViT-B-32", help="name or folder, with random weights")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall",
        help="cpu: of the processor, for a busy machine and one thread",
    )  # fmt: skip
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    if args.small:
        args.size, args.repeats = (64, 128), 1
    torch.set_num_threads(args.threads)
    coarse = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    image = cv2.resize(coarse, args.size[::-1], interpolation=cv2.INTER_CUBIC)
    with tempfile.TemporaryDirectory() as folder:
        files = write_model(Path(folder), args.clip)
        segmenters = {}
        for kind in args.formats:
            out = Path(folder, kind)
            export_model(*files, out, kind)
            segmenters[kind] = Segmenter(out, threads=args.threads)
        model = init_domino_model(files[0], str(files[1]))
        domain = next(iter(segmenters.values())).domains[0]
        given, same = measure(
            {
                "stack": lambda: predict_image(model, image, domain),
                **{k: lambda s=s: s(image, domain) for k, s in segmenters.items()},
            },
            args.repeats,
            args.clock,
        )
        seen, _ = measure(
            {
                "stack": lambda: predict_image(model, image),
                **{k: lambda s=s: s(image) for k, s in segmenters.items()},
            },
            args.repeats,
            args.clock,
        )
    print(f"{describe(torch.device('cpu'))}; {args.size[0]} x {args.size[1]}\n\n{Row.HEAD}")
    report, unit = Report(), "images/s" if args.clock == "wall" else "images/s of CPU"
    for kind in args.formats:
        report.add(
            f"SegFormer-B0, {kind}", plain=given["stack"], ours=given[kind], unit=unit,
            higher=True, goal=GOAL, note=f"same label on {same[kind]:.3f} % of pixels",
        )  # fmt: skip
    for kind in args.formats:
        plain, ours = (100 * (1 - seen[n] / given[n]) for n in ("stack", kind))
        report.add(
            f"with {Path(args.clip).name} for the domain, {kind}", plain=seen["stack"],
            ours=seen[kind], unit=unit, higher=True,
            note=f"CLIP's share: {plain:.0f} % plain, {ours:.0f} % ours",
        )  # fmt: skip


if __name__ == "__main__":
    main()
