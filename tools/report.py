"""Make the HTML report of one or several tests, with its figures as PNG files.

The work folders are those that tools/test.py wrote into. With several, the first is the one that
the others are compared with. `tools/test.py ... --report DIR` makes the report of a single test.
"""

import argparse
import sys

from mmseg_domino.reporting import comparison_table, domain_table, load_run, write_report


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work_dirs", nargs="+", metavar="WORK_DIR", help="with a results.json")
    parser.add_argument("--out", default="report", help="folder to write into (default: report)")
    parser.add_argument("--title", help="heading (default: the names of the runs)")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        runs = [load_run(folder) for folder in args.work_dirs]
        page = write_report(runs, args.out, args.title)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    results = [run.results for run in runs]
    table = domain_table(results[0]) if len(results) == 1 else comparison_table(results)
    print(table.text())
    size = page.stat().st_size / 2**20
    print(f"written: {page} ({size:.1f} MiB, nothing else is needed) and {page.parent}/figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
