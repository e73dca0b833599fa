"""Make trainId labels of SYNTHIA: GT/LABELS/*.png -> GT/LABELS/*_labelTrainIds.png."""

import argparse
import os
from pathlib import Path

from mmseg_domino.datasets.conversion import (
    SYNTHIA_LABELS,
    TRAIN_ID_SUFFIX,
    convert_labels,
    decode_last_channel,
    label_table,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="the folder that holds RGB and GT")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 0, help="processes")
    parser.add_argument("--overwrite", action="store_true", help="convert existing ones again")
    args = parser.parse_args()
    pairs = [
        (path, path.with_name(path.stem + TRAIN_ID_SUFFIX))
        for path in sorted((args.root / "GT" / "LABELS").glob("*.png"))
        if not path.name.endswith(TRAIN_ID_SUFFIX)
    ]
    table = label_table(SYNTHIA_LABELS, values=23)
    written = convert_labels(pairs, decode_last_channel, table, args.workers, args.overwrite)
    print(f"{written} of {len(pairs)} labels converted, the others were there")


if __name__ == "__main__":
    main()
