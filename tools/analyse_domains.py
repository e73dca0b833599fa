"""Show how well a store's prompt bank and encoder tell its images apart.

    python tools/analyse_domains.py STORE --data-root DATA --out FOLDER

Writes figures (PNG), the numbers (analysis.json) and one page, index.html, that needs no network.
The true condition of an image is read from its path: a folder named like a domain, or one that
``--condition`` names, such as ``--condition leftImg8bit=clear_day``.
"""

import argparse
import sys
from pathlib import Path

from mmseg_domino.apps.analysis import DomainAnalysis, analyse_store, project
from mmseg_domino.apps.analysis_page import Thumbnails, write_analysis
from mmseg_domino.domain import EmbeddingStore


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument(
        "--data-root", type=Path, help="for pictures: what the store's keys start at"
    )
    parser.add_argument("--out", type=Path, help="folder (STORE without suffix + _analysis)")
    parser.add_argument(
        "--condition", action="append", default=[], metavar="FOLDER=CONDITION", help="repeatable"
    )
    parser.add_argument("--temperature", type=float, help="of the scores (the encoder's own)")
    parser.add_argument("--map", choices=("auto", "umap", "pca"), default="auto")
    args = parser.parse_args()
    wrong = [text for text in args.condition if text.count("=") != 1]
    if wrong:
        parser.error(f"--condition takes FOLDER=CONDITION, got {wrong[0]!r}")
    if args.out is None:
        args.out = args.store.with_name(f"{args.store.stem}_analysis")
    return args


def print_summary(analysis: DomainAnalysis) -> None:
    corner = "true, likeliest:"
    width = max(map(len, (*analysis.known, corner)))
    if analysis.known:
        columns = [max(len(name), 6) for name in analysis.domains]
        names = "  ".join(f"{n:>{w}}" for n, w in zip(analysis.domains, columns, strict=True))
        print(f"{corner:<{width}}  {names}   right")
        accuracy = analysis.accuracy()
        for condition, row in zip(analysis.known, analysis.confusion().tolist(), strict=True):
            counts = "  ".join(f"{n:>{w}}" for n, w in zip(row, columns, strict=True))
            right = f"{accuracy[condition]:5.1f} %" if condition in accuracy else "      -"
            print(f"{condition:<{width}}  {counts}  {right}")
        if accuracy:
            print(
                f"{accuracy['all']:.1f} % of images right, "
                f"mean of conditions {accuracy['mean']:.1f} %"
            )
    else:
        print("no true condition is known (see --condition); likeliest domains:")
        for name, count in analysis.summary()["predicted"].items():
            print(f"    {name}: {count}")


def main() -> int:
    args = parse_args()
    try:
        store = EmbeddingStore.open(args.store)
        named = dict(text.split("=") for text in args.condition)
        analysis = analyse_store(store, named, args.temperature)
        positions, method = project(store.images(), args.map)
    except (FileNotFoundError, ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    thumbnails = Thumbnails(args.data_root)
    if args.data_root is not None and thumbnails.get(store.keys[0]) is None:
        print(f"no pictures: {args.data_root / store.keys[0]} cannot be read", file=sys.stderr)
    title = f"Domains of {args.store.name}"
    page = write_analysis(
        analysis, positions, method, thumbnails, args.out, title, store.provenance
    )
    print_summary(analysis)
    print(f"written: {page}, and its figures beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
