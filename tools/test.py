"""Test a segmentor and write its table; the arguments are those of MMSegmentation's tools/test.py.

Into the work folder go results.json, per_image.safetensors, results.md and results.csv.
"""

import argparse

from mmengine.dist import is_main_process

import mmseg_domino.engine as engine


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    engine.add_common_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", help="write predictions as PNG files into this folder")
    parser.add_argument(
        "--format-only",
        action="store_true",
        help="only write predictions (needs --out); the images need no labels",
    )
    parser.add_argument("--show", action="store_true", help="show predictions on the screen")
    parser.add_argument("--show-dir", help="draw predictions into this folder")
    parser.add_argument("--wait-time", type=float, default=2, help="seconds a shown image stays")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation")
    parser.add_argument("--report", metavar="DIR", help="write the HTML report into this folder")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the interrupted test of this checkpoint in the work folder",
    )
    args = parser.parse_args()
    if args.format_only and args.out is None:
        parser.error("--format-only writes predictions and needs --out DIR")
    return args


def main() -> None:
    args = parse_args()
    cfg = engine.apply_domino(engine.load_config(args))
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        engine.show_predictions(cfg, args.show, args.show_dir, args.wait_time)
    if args.tta:
        engine.use_test_time_augmentation(cfg)
    if args.out:
        engine.save_predictions(cfg, args.out, only=args.format_only)
    engine.record_results(cfg, args.checkpoint, resume=args.resume)
    if args.report:
        hook = dict(type="DominoReportHook", out_dir=args.report)
        cfg.custom_hooks = [*cfg.get("custom_hooks", []), hook]
    metrics = engine.build_runner(cfg).test()
    if is_main_process() and metrics and not args.format_only:
        _, table = engine.write_tables(cfg.work_dir)
        print(f"\n{table.text()}\n\nwritten to {cfg.work_dir}/results.{{json,md,csv}}")


if __name__ == "__main__":
    main()
