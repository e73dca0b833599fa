"""Draw samples of the mini-SD and the mini-ControlNet on a sheet, one domain a row.

    domino data mini
    python -m benchmarks.paper.training.samples --out docs/images/mini_sd.png
    python -m benchmarks.paper.training.samples --control --out docs/images/mini_controlnet.png

With --control, the first row are the label maps that the pictures below are made from, of scenes
that no training has seen; the second the pictures that the street world renders of them.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.paper.training.sampling import (
    contact_sheet,
    control_requests,
    domain_prompts,
    open_controlled,
    open_pipeline,
    sample_pictures,
)
from mmseg_domino.utils.images import write_image
from street_world.street import DOMAINS, render, sample_scene

FIRST_SCENE = 960_000_000  # of no training, no test of training, and no street world


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="data/mini/models")
    parser.add_argument("--out", required=True, help="PNG to write")
    parser.add_argument("--control", action="store_true", help="from label maps")
    parser.add_argument("--count", type=int, default=3, help="pictures of each domain")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), metavar=("H", "W"))
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def text_rows(args: argparse.Namespace) -> tuple[list, list[str]]:
    """Rows of pictures from prompts alone."""
    prompts = domain_prompts("acdc", args.count)
    pictures = sample_pictures(
        open_pipeline(Path(args.models) / "mini-sd"),
        prompts,
        tuple(args.size),
        args.seed,
        args.steps,
        args.guidance,
    )
    return list(pictures.reshape(len(DOMAINS), args.count, *pictures.shape[1:])), list(DOMAINS)


def control_rows(args: argparse.Namespace) -> tuple[list, list[str]]:
    """The label maps, the world's own pictures of them, and rows of generated ones."""
    models = Path(args.models)
    generator = open_controlled(
        models / "mini-sd", models / "mini-controlnet", args.steps, args.guidance, tuple(args.size)
    )
    scenes = [
        render(sample_scene(FIRST_SCENE + args.seed + i, tuple(args.size)))
        for i in range(args.count)
    ]
    shown = [scene.image for scene in scenes], [scene.label for scene in scenes]
    seeds = range(args.seed, args.seed + args.count)
    requests = [control_requests(*shown, domain, seeds) for domain in DOMAINS]
    rows = [[request.control for request in requests[0]], shown[0]]
    rows += [[made.image for made in generator.generate(asked)] for asked in requests]
    return rows, ["label", "rendered", *DOMAINS]


def main() -> None:
    args = parse_args()
    rows, names = control_rows(args) if args.control else text_rows(args)
    sheet = contact_sheet([[np.asarray(picture) for picture in row] for row in rows], names)
    write_image(args.out, np.ascontiguousarray(sheet), optimize=True)


if __name__ == "__main__":
    main()
