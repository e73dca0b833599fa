"""Check that DominoVPD computes what the original VPD code computed.

    python tools/verify_vpd.py STEM [--tolerance 2e-5]

STEM.json holds the layer configuration, STEM.weights.safetensors the weights under their original
names, STEM.activations.safetensors images and what the original computed with them. Prints the
largest difference of each tensor relative to the stored one's largest magnitude. The exit status is
0 if all are within the tolerance, 1 if one is not, 2 if the files cannot be used.
"""

import argparse
import sys
from pathlib import Path

from mmseg_domino.models.verification import verify_vpd


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stem", type=Path, help="path of the files without their endings")
    parser.add_argument(
        "--tolerance", type=float, default=2e-5, help="largest relative difference (%(default)s)"
    )
    args = parser.parse_args()
    try:
        differences = verify_vpd(args.stem)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    good = True
    for name, difference in differences.items():
        # Written so that NaN does not pass.
        within = difference <= args.tolerance
        good = good and within
        print(f"{name:<12}{difference:>12.3e}  {'ok' if within else 'DIFFERS'}")
    print(f"{'all within' if good else 'NOT all within'} {args.tolerance:g}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
