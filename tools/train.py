"""Train a segmentor; the arguments are those of MMSegmentation's own tools/train.py."""

import argparse

import mmseg_domino.engine as engine


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    engine.add_common_arguments(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the latest checkpoint in the work folder",
    )
    parser.add_argument("--amp", action="store_true", help="train in automatic mixed precision")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = engine.load_config(args)
    cfg.resume = args.resume or cfg.get("resume", False)
    if args.amp:
        engine.enable_amp(cfg)
    engine.build_runner(cfg).train()


if __name__ == "__main__":
    main()
