"""Tables of many runs: Markdown, CSV and LaTeX, mean and deviation over seeds, 95 % intervals.

    python tools/tables.py work_dirs/sweep --out tables

WORK_DIRS are folders of sweeps, work folders of tools/test.py, or folders above such. Runs of one
config with several seeds are a row. A run that failed, or that a sweep planned and did not run, is
shown as such. Each set gets two tables: averages over the target domains, and every domain.
"""

import argparse
import sys
from pathlib import Path

from mmseg_domino.experiments import (
    SetError,
    averages_table,
    collect_conditions,
    domains_table,
)
from mmseg_domino.reporting import ResultsError
from mmseg_domino.utils import atomic_write


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work_dirs", nargs="+", metavar="WORK_DIR", type=Path)
    parser.add_argument("--out", type=Path, help="folder for the files (default: print only)")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        conditions = collect_conditions(args.work_dirs)
        tables = {}
        for group in dict.fromkeys(c.group for c in conditions):
            members = [c for c in conditions if c.group == group]
            name = group or "runs"
            tables[name] = averages_table(members, f"{name}: averages over the target domains")
            tables[f"{name}_domains"] = domains_table(members, f"{name}: mIoU by domain")
    except (ResultsError, SetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, table in tables.items():
        print(table.text())
        if args.out is not None:
            for kind, text in (
                ("md", table.markdown()),
                ("csv", table.csv()),
                ("tex", table.latex()),
            ):
                with atomic_write(args.out / f"{name}.{kind}") as path:
                    path.write_text(text, encoding="utf-8")
    missing = sum(len(c.absent) for c in conditions)
    if missing:
        print(f"{missing} of {sum(len(c.runs) for c in conditions)} runs have no results")
    if args.out is not None:
        print(f"written to {args.out}/{{{','.join(tables)}}}.{{md,csv,tex}}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
