"""``python -m street_world``: make the data and models of the embedded default, or a picture."""

import argparse
from collections.abc import Sequence

from street_world.prepare import prepare
from street_world.street import DOMAINS, HELD_OUT_DOMAINS


def parse_args(argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Write the street world and the miniature foundation models, if absent; or "
        "with --contact-sheet a picture of scenes in every domain.",
    )
    parser.add_argument("--root", default="data/mini", help="folder to use (default: %(default)s)")
    parser.add_argument("--train", type=int, default=240, help="clear training scenes")
    parser.add_argument("--val", type=int, default=24, help="validation scenes in every domain")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), metavar=("H", "W"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes (default: the number of cores)")
    parser.add_argument("--no-models", action="store_true", help="the world alone")
    sheet = parser.add_argument_group("contact sheet")
    sheet.add_argument("--contact-sheet", metavar="OUT.png", help="write this picture instead")
    sheet.add_argument("--scenes", type=int, default=4, help="columns")
    sheet.add_argument("--domains", nargs="+", default=[*DOMAINS, *HELD_OUT_DOMAINS])
    sheet.add_argument("--strength", type=float, default=0.8, help="of the weather, 0 to 1")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, prog: str = "python -m street_world") -> None:
    args = parse_args(argv, prog)
    if args.contact_sheet:
        from street_world.sheets import write_contact_sheet

        seeds = range(args.seed, args.seed + args.scenes)
        write_contact_sheet(args.contact_sheet, seeds, args.domains, args.strength, args.size)
        print(f"wrote {args.contact_sheet}")
        return
    size, models = tuple(args.size), not args.no_models
    prepare(args.root, args.train, args.val, size, args.seed, args.workers, models)


if __name__ == "__main__":
    main()
