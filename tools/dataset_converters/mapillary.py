"""Make trainId labels of Mapillary Vistas.

Takes those of release 1.2 from SPLIT/v1.2/labels (newer archives) or SPLIT/labels (older ones), and
writes to SPLIT/labels in either case; those of release 2.0 from SPLIT/v2.0/labels, where they stay.
"""

import argparse
import os
from pathlib import Path

from mmseg_domino.datasets.conversion import (
    TRAIN_ID_SUFFIX,
    convert_labels,
    decode_single_channel,
    label_table,
    mapillary_labels,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="the folder that holds training and validation")
    parser.add_argument("--version", choices=["1.2", "2.0"], default="1.2", help="label release")
    parser.add_argument("--splits", nargs="+", default=["validation"], help="folders to convert")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 0, help="processes")
    parser.add_argument("--overwrite", action="store_true", help="convert existing ones again")
    args = parser.parse_args()
    pairs = []
    for split in args.splits:
        folder = args.root / split / f"v{args.version}" / "labels"
        target = args.root / split / "labels" if args.version == "1.2" else folder
        if args.version == "1.2" and not folder.is_dir():
            folder = target
        pairs += [
            (path, target / (path.stem + TRAIN_ID_SUFFIX))
            for path in sorted(folder.glob("*.png"))
            if not path.name.endswith(TRAIN_ID_SUFFIX)
        ]
    table = label_table(*mapillary_labels(args.version))
    written = convert_labels(pairs, decode_single_channel, table, args.workers, args.overwrite)
    print(f"{written} of {len(pairs)} labels converted, the others were there")


if __name__ == "__main__":
    main()
