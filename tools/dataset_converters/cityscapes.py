"""Make trainId labels of Cityscapes: gtFine/*/*/*_labelIds.png -> *_labelTrainIds.png."""

import argparse
import os
from pathlib import Path

from mmseg_domino.datasets.conversion import (
    CITYSCAPES_LABELS,
    convert_labels,
    decode_single_channel,
    label_table,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="the folder that holds gtFine")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 0, help="processes")
    parser.add_argument("--overwrite", action="store_true", help="convert existing ones again")
    args = parser.parse_args()
    ending = "_labelIds.png"
    pairs = [
        (path, path.with_name(path.name[: -len(ending)] + "_labelTrainIds.png"))
        for path in sorted((args.root / "gtFine").rglob("*" + ending))
    ]
    table = label_table(CITYSCAPES_LABELS, values=34)
    written = convert_labels(pairs, decode_single_channel, table, args.workers, args.overwrite)
    print(f"{written} of {len(pairs)} labels converted, the others were there")


if __name__ == "__main__":
    main()
