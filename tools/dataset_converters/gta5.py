"""Make trainId labels of GTA5: labels/*.png -> labels/*_labelTrainIds.png."""

import argparse
import os
from pathlib import Path

from mmseg_domino.datasets.conversion import (
    CITYSCAPES_LABELS,
    TRAIN_ID_SUFFIX,
    convert_labels,
    decode_single_channel,
    label_table,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="the folder that holds images and labels")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 0, help="processes")
    parser.add_argument("--overwrite", action="store_true", help="convert existing ones again")
    args = parser.parse_args()
    pairs = [
        (path, path.with_name(path.stem + TRAIN_ID_SUFFIX))
        for path in sorted((args.root / "labels").glob("*.png"))
        if not path.name.endswith(TRAIN_ID_SUFFIX)
    ]
    # GTA5 uses Cityscapes' labelIds, and 34 for licence plates.
    table = label_table(CITYSCAPES_LABELS, values=35)
    written = convert_labels(pairs, decode_single_channel, table, args.workers, args.overwrite)
    print(f"{written} of {len(pairs)} labels converted, the others were there")


if __name__ == "__main__":
    main()
