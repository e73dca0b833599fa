"""Train and test every condition of a set with several seeds.

    python tools/sweep.py configs/ablation/injection.py --seeds 0 1 2

A set is one file (several, and plain configs, may be given). Each run has its own process and work
folder, WORK_DIR/SET/CONDITION/seedN, with its frozen config. Killed and started again with the same
command, the sweep goes on: finished runs stay, a half-trained one continues from its last
checkpoint, failed ones are tried again. A failed run does not stop the others; the exit code is
then 1.

The sets of this project stand on the flagship at its true size. --base puts another config in its
place, such as the embedded miniature:

    python tools/sweep.py configs/ablation/injection.py --base configs/domino_vpd_mini.py

tools/tables.py makes the tables.
"""

import argparse
import signal
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmseg_domino.experiments import (
    Resources,
    Sweep,
    SweepBusyError,
    clock,
    plan_runs,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", metavar="SET", help="files of sets, or configs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="%(default)s")
    parser.add_argument(
        "--work-dir", type=Path, default=Path("work_dirs/sweep"), help="folder (%(default)s)"
    )
    parser.add_argument("--base", help="config to stand in for the base that the sets name")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (%(default)s)")
    parser.add_argument(
        "--threads", type=int, help="of each run (OMP_NUM_THREADS, or the processors / jobs)"
    )
    parser.add_argument(
        "--gpus", type=int, default=1, help="processes of each run, under torchrun (%(default)s)"
    )
    parser.add_argument("--hours", type=float, help="start no further run after this time")
    parser.add_argument(
        "--discard-checkpoints", action="store_true", help="remove them once a run is tested"
    )
    parser.add_argument(
        "--redo", action="store_true", help="start over, also what is finished in WORK_DIR"
    )
    parser.add_argument("--list", action="store_true", help="print the runs and do nothing")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="override settings of all configs"
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    # As Ctrl-C: the runs are stopped, and the next call goes on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        runs = plan_runs(args.sets, args.seeds, args.base)
        if args.list:
            print("\n".join(f"{run.folder}  {run.source.path}" for run in runs))
            return 0
        report = Sweep(
            runs, args.work_dir, Resources(args.jobs, args.threads, args.gpus, args.hours),
            args.cfg_options or {},
            discard_checkpoints=args.discard_checkpoints, redo=args.redo,
            say=lambda line: print(line, flush=True),
        ).execute()  # fmt: skip
    except (ValueError, SweepBusyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{len(report.finished)} of {len(runs)} runs finished ({report.reused} of them before)")
    for run, reason in report.failed.items():
        print(f"failed: {run.label}: {reason}\n    {args.work_dir / run.folder}/sweep.log")
    if report.left:
        print(f"{len(report.left)} runs are left for the next call ({clock(3600 * args.hours)})")
    print(f"tables: python tools/tables.py {args.work_dir}")
    return 0 if report.complete else 1


if __name__ == "__main__":
    sys.exit(main())
