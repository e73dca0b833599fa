"""``python -m street_world``: make the data and models of the embedded default."""

import argparse
from collections.abc import Sequence

from street_world.prepare import prepare


def main(argv: Sequence[str] | None = None, prog: str = "python -m street_world") -> None:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Write the street world and the miniature foundation models, if absent.",
    )
    parser.add_argument("--root", default="data/mini", help="folder to use (default: %(default)s)")
    parser.add_argument("--train", type=int, default=160, help="clear training scenes")
    parser.add_argument("--val", type=int, default=24, help="validation scenes in every domain")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 512), metavar=("H", "W"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes (default: the number of cores)")
    args = parser.parse_args(argv)
    prepare(args.root, args.train, args.val, tuple(args.size), args.seed, args.workers)


if __name__ == "__main__":
    main()
