"""Check the files of a config's data sets: counts, pairs, sizes, label values, damaged files.

Prints one row a data set and domain, and the first bad files. Exits with 1 if anything is wrong.
"""

import argparse
import os
import sys

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from mmseg_domino.datasets import leaf_datasets
from mmseg_domino.datasets.checking import DatasetCheck, check_dataset


def build_table(rows: list[tuple[str, DatasetCheck]]) -> Table:
    table = Table(title="Data sets")
    for name in ("loader", "data set / domain", "images", "labelled", "sizes", "absent classes"):
        table.add_column(name)
    table.add_column("bad", justify="right")
    for loader, check in rows:
        count = str(check.images)
        if not check.count_is_right:
            count += f" (published: {check.expected})"
        sizes = ", ".join(f"{w}x{h}" for (w, h), _ in check.sizes.most_common(3))
        if len(check.sizes) > 3:
            sizes += f" and {len(check.sizes) - 3} more"
        if not check.sizes_are_right:
            sizes += " (published: {}x{})".format(*check.expected_size)
        absent = int((check.pixels == 0).sum()) if check.labelled else 0
        bad = len(check.problems) + len(check.orphans)
        table.add_row(
            loader, check.group, count, str(check.labelled), sizes, str(absent),
            f"[red]{bad}" if bad else "0",
        )  # fmt: skip
    return table


def check_loader(config: dict, args: argparse.Namespace) -> tuple[list[DatasetCheck], list[str]]:
    """Checks of all data sets of a loader, and what could not be read at all."""
    checks, errors = [], []
    for leaf in leaf_datasets(config["dataset"]):
        try:
            dataset = DATASETS.build(leaf)
        except (OSError, ValueError) as error:
            errors.append(str(error))
            continue
        if len(dataset) == 0:
            errors.append(f"{leaf['type']}: no image below {leaf.get('data_root')}")
            continue
        found = check_dataset(
            dataset,
            args.limit,
            args.workers,
            lambda items, total: tqdm(items, total=total, unit="image", leave=False),
        )
        checks += found
    return checks, errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="any config with data loaders, such as one of settings/")
    parser.add_argument(
        "--loaders", nargs="+", default=["train", "val", "test"], help="which loaders"
    )
    parser.add_argument("--limit", type=int, help="look at so many images of each data set")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 0, help="processes")
    parser.add_argument("--show", type=int, default=10, help="how many bad files to print")
    parser.add_argument(
        "--any-count", action="store_true", help="numbers of images may differ from the published"
    )
    parser.add_argument(
        "--any-size", action="store_true", help="sizes of images may differ from the published"
    )
    args = parser.parse_args()
    init_default_scope("mmseg")
    config = Config.fromfile(args.config)
    rows, errors, seen = [], [], []
    for loader in args.loaders:
        settings = config.get(f"{loader}_dataloader")
        if settings is None or settings["dataset"] in seen:
            continue
        seen.append(settings["dataset"])
        checks, failed = check_loader(settings, args)
        rows += [(loader, check) for check in checks]
        errors += failed
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(build_table(rows))
    problems = [message for _, check in rows for message in check.problems.values()]
    problems += [f"{path} has no image" for _, check in rows for path in check.orphans]
    for message in [*errors, *problems[: args.show]]:
        console.print(message, style="red", markup=False, soft_wrap=True)
    if len(problems) > args.show:
        console.print(f"... and {len(problems) - args.show} more")
    counts_wrong = not args.any_count and any(not check.count_is_right for _, check in rows)
    if counts_wrong:
        console.print("some numbers of images are not the published ones (--any-count to allow)")
    sizes_wrong = not args.any_size and any(not check.sizes_are_right for _, check in rows)
    if sizes_wrong:
        console.print("some sizes of images are not the published ones (--any-size to allow)")
    return int(bool(errors or problems or counts_wrong or sizes_wrong))


if __name__ == "__main__":
    sys.exit(main())
