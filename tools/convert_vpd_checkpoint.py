"""Convert a segmentation checkpoint of the published VPD code for DominoVPD.

    python tools/convert_vpd_checkpoint.py vpd.pth vpd.safetensors

Then train or test with load_from='vpd.safetensors' in the config. Values and types stay as they
are. Every key that was not used is listed, and written to OUT's name with .json for the ending.
"""

import argparse
import json
import sys
from pathlib import Path

from safetensors.torch import save_file

from mmseg_domino.models.diffusion.files import read_state_dict
from mmseg_domino.models.diffusion.published_checkpoints import convert_published_vpd
from mmseg_domino.utils import atomic_write


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="original file: .pth, .ckpt, .safetensors")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument(
        "--domino-neck",
        action="store_true",
        help="the config's neck is a DominoNorm around the original's FPN (the flagship's is)",
    )
    args = parser.parse_args()
    if args.out.suffix != ".safetensors":
        parser.error(f"the output must end in .safetensors, got {args.out}")
    return args


def write(out: Path, state: dict) -> None:
    with atomic_write(out) as temporary:
        save_file(state, temporary)


def main() -> int:
    args = parse_args()
    try:
        state = read_state_dict(args.checkpoint)
        converted, unused = convert_published_vpd(state, args.domino_neck)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    write(args.out, converted)
    report = {"read": len(state), "written": len(converted), "not_used": unused}
    with atomic_write(args.out.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{len(state)} tensors read, {len(converted)} written to {args.out}")
    print(f"{len(unused)} keys not used{':' if unused else ''}")
    for key in unused:
        print(f"    {key}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
