"""Write the procedural street world as Cityscapes and ACDC trees, or a contact sheet of it."""

import argparse
from pathlib import Path

import cv2
import numpy as np

from mmseg_domino.utils.io import atomic_write
from street_world import render, sample_scene, write_street_world
from street_world.street import DOMAINS, HELD_OUT_DOMAINS, PALETTE, build


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", help="folder that receives the trees")
    parser.add_argument("--train", type=int, default=160, help="clear training scenes")
    parser.add_argument("--val", type=int, default=24, help="validation scenes in every domain")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 512), metavar=("H", "W"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes (default: the number of cores)")
    parser.add_argument("--contact-sheet", metavar="OUT.png", help="write this picture instead")
    parser.add_argument("--scenes", type=int, default=4, help="columns of the contact sheet")
    parser.add_argument("--domains", nargs="+", default=[*DOMAINS, *HELD_OUT_DOMAINS])
    parser.add_argument("--strength", type=float, default=0.8, help="of the sheet, 0 to 1")
    args = parser.parse_args()
    if not args.root and not args.contact_sheet:
        parser.error("give a folder for the trees, or --contact-sheet OUT.png")
    return args


def contact_sheet(
    seeds: list[int], domains: list[str], strength: float, size: tuple[int, int]
) -> np.ndarray:
    """One scene a column, one domain a row with its name, the labels last; RGB."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(PALETTE)] = PALETTE
    columns = []
    for seed in seeds:
        scene = sample_scene(seed, size)
        geometry = build(scene)
        images = [render(scene, domain, strength, geometry).image for domain in domains]
        columns.append(np.vstack([*images, palette[geometry.buffer.label]]))
    sheet = np.ascontiguousarray(np.hstack(columns))
    scale = size[0] / 512
    for row, name in enumerate([*domains, "labels"]):
        at = (int(12 * scale) + 4, int(row * size[0] + 40 * scale) + 4)
        for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(
                sheet, name, at, cv2.FONT_HERSHEY_SIMPLEX, 1.4 * scale, colour, width, cv2.LINE_AA
            )
    return sheet


def main() -> None:
    args = parse_args()
    size = tuple(args.size)
    if args.contact_sheet:
        seeds = [args.seed + index for index in range(args.scenes)]
        sheet = contact_sheet(seeds, args.domains, args.strength, size)
        with atomic_write(args.contact_sheet) as path:
            cv2.imwrite(str(path), sheet[..., ::-1])
        print(f"wrote {args.contact_sheet}")
        return
    root = write_street_world(args.root, args.train, args.val, size, args.seed, args.workers)
    print(f"the street world is in {Path(root)}")


if __name__ == "__main__":
    main()
