"""Embed class names for DominoVPD, as VPD does: 80 templates through CLIP's text tower.

    python tools/embed_classes.py OUT.safetensors --dataset cityscapes \
        --weights stable-diffusion-v1-5/stable-diffusion-v1-5
    python tools/embed_classes.py OUT.safetensors --classes road "traffic light" \
        --text-encoder open_clip:ViT-L-14:openai
    python tools/embed_classes.py OUT.safetensors --names my_classes.txt --weights sd-v1-5.ckpt

The file goes into a config as DominoVPD's `class_embeddings`. Take the text tower of the weights
that the UNet comes from: its cross-attention was trained on that tower's states.
"""

import argparse
import sys
from pathlib import Path

from mmseg.utils import get_classes

from mmseg_domino.models.diffusion.class_embeddings import embed_classes
from mmseg_domino.models.diffusion.text_towers import open_text_tower
from mmseg_domino.models.diffusion.weights import open_weights


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    names = parser.add_mutually_exclusive_group(required=True)
    names.add_argument("--classes", nargs="+", metavar="NAME")
    names.add_argument("--names", type=Path, help="a text file with a name a line")
    names.add_argument("--dataset", help="a data set whose classes MMSegmentation knows")
    tower = parser.add_mutually_exclusive_group(required=True)
    tower.add_argument("--weights", help="diffusers folder, hub name or original file")
    tower.add_argument("--text-encoder", help="diffusers folder, hub name, open_clip:MODEL:TAG")
    args = parser.parse_args()
    if args.out.suffix != ".safetensors":
        parser.error(f"the output must end in .safetensors, got {args.out}")
    return args


def class_names(args: argparse.Namespace) -> list[str]:
    if args.classes:
        return args.classes
    if args.dataset:
        return list(get_classes(args.dataset))
    lines = args.names.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]


def main() -> int:
    args = parse_args()
    try:
        # A tower of its own needs no diffusion weights.
        source = open_weights(args.weights) if args.weights else None
        tower = open_text_tower(args.text_encoder, source)
        embeddings = embed_classes(tower, class_names(args), out=args.out)
    except (OSError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    count, width = embeddings.shape
    norm = embeddings.norm(dim=1).mean().item()
    print(f"{count} classes, {width} wide, mean norm {norm:.1f}, by {tower.name}: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
