"""Attack, and print a line a target and every fault."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .run import run_attack


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="functions of runs, data and places")
    parser.add_argument("--all", action="store_true", help="print every outcome")
    args = parser.parse_args()
    start, total = time.time(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, outcomes in run_attack(Path(folder), args.targets):
            count = Counter(o.verdict for o in outcomes)
            total += count
            print(f"{name:<24} {len(outcomes):>4} inputs: ", end="")
            print(", ".join(f"{n} {verdict}" for verdict, n in sorted(count.items())), flush=True)
            for outcome in outcomes:
                if outcome.is_fault or args.all:
                    said = outcome.text.replace("\n", " ")[:300]
                    print(f"    {outcome.damage}: {outcome.verdict} {said}", flush=True)
    print(f"{sum(total.values())} inputs in {time.time() - start:.0f} s: {dict(total)}")
    return int(any(v not in ("right", "refused") for v in total))


if __name__ == "__main__":
    sys.exit(main())
