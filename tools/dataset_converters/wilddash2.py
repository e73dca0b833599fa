"""Make trainId labels of WildDash 2: panoptic.json and panoptic/*.png -> labelTrainIds/*.png."""

import argparse
import json
import os
from pathlib import Path

from mmseg_domino.datasets.conversion import convert_panoptic, wilddash_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="the folder that holds images and panoptic.json")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 0, help="processes")
    parser.add_argument("--overwrite", action="store_true", help="convert existing ones again")
    args = parser.parse_args()
    panoptic = json.loads((args.root / "panoptic.json").read_text(encoding="utf-8"))
    written = convert_panoptic(
        panoptic["annotations"],
        args.root / "panoptic",
        args.root / "labelTrainIds",
        wilddash_table(panoptic["categories"]),
        args.workers,
        args.overwrite,
        args.root / "panoptic.json",
    )
    print(f"{written} of {len(panoptic['annotations'])} labels converted, the others were there")


if __name__ == "__main__":
    main()
