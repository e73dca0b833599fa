"""The paper in a box: its questions, trained and tested in miniature on the embedded street world.

    python -m benchmarks.paper            # 3 seeds, 5 of the headline; hours on 2 cores
    python -m benchmarks.paper --confirm  # the chosen design on fresh seeds and a fresh world
    python -m benchmarks.paper --quick    # one seed of the essentials, minutes: CI

Nothing is downloaded. Killed and started again, it goes on. The report (tables, figures and one
page that says of each claim of the paper whether it holds here) is ROOT/report/index.html; it is
written at the end, and by --report-only at any time. --quick fails if learning, pretraining or the
domain embeddings are broken.
"""

import argparse
import json
import shlex
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import mmseg_domino
from benchmarks.paper.bench import (
    CONFIRM,
    FULL,
    QUICK,
    QUICK_CONDITIONS,
    bench_runs,
    confirming_runs,
    device,
    prepare_bench,
    quick_checks,
    write_checks,
)
from benchmarks.paper.page import write_bench_report
from benchmarks.paper.questions import CLAIMS, CONFIRMING_CLAIMS, QUESTIONS
from mmseg_domino.experiments import Resources, Sweep, clock, read_record
from mmseg_domino.utils import atomic_write

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="folder (work_dirs/bench, _quick, _confirm)")
    parser.add_argument("--quick", action="store_true", help="the regression check")
    parser.add_argument(
        "--confirm", action="store_true", help="only the chosen design against plain VPD, anew"
    )
    parser.add_argument("--seeds", type=int, help="of every condition (3)")
    parser.add_argument("--iterations", type=int, help="of each training (300)")
    parser.add_argument(
        "--only", nargs="+", metavar="SET/NAME", help="run these conditions alone for now"
    )
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of each run (%(default)s)")
    parser.add_argument("--hours", type=float, help="start no further run after this time")
    parser.add_argument("--report-only", action="store_true", help="report what there is")
    return parser.parse_args()


def report(root: Path, command: str, confirm: bool = False) -> None:
    runs = root / "runs"
    records = [read_record(path.parent) for path in runs.glob("*/*/*/run.json")]
    seconds = [r.seconds for r in records if r.status == "finished"]
    used = root / "used.json"
    made = {
        "Command": command,
        "Device": device(),
        "Time": f"{clock(sum(seconds))} in {len(seconds)} finished runs",
        "Version": mmseg_domino.__version__,
    }
    if used.is_file():
        names = {"clip": "mini-CLIP", "sd": "mini-SD", "synthetic": "Synthetic images"}
        made |= {names[key]: text for key, text in json.loads(used.read_text()).items()}
    questions, claims = (QUESTIONS[:1], CONFIRMING_CLAIMS) if confirm else (QUESTIONS, CLAIMS)
    decisions = write_bench_report(runs, root / "report", made, questions, claims)
    for decision in decisions:
        print(f"{decision.verdict():<15} {decision.claim.text}")
    print(f"written to {root / 'report' / 'index.html'}")


def main() -> int:
    args = parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    name, size = "bench", FULL
    if args.quick or args.confirm:
        name, size = ("bench_quick", QUICK) if args.quick else ("bench_confirm", CONFIRM)
    root = args.root or Path("work_dirs") / name
    changes = {"seeds": args.seeds, "iterations": args.iterations}
    size = replace(size, **{k: v for k, v in changes.items() if v is not None})
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    if args.report_only:
        report(root, command, args.confirm)
        return 0
    start = time.monotonic()
    try:
        used = prepare_bench(root, size, workers=args.jobs)
        with atomic_write(root / "used.json") as path:
            path.write_text(json.dumps(used, indent=1) + "\n")
        only = QUICK_CONDITIONS if args.quick else None
        if args.only is not None:
            only = [tuple(name.split("/", 1)) for name in args.only]
        runs = confirming_runs(CONFIGS) if args.confirm else bench_runs(CONFIGS, size, only)
        swept = Sweep(
            runs, root / "runs",
            Resources(args.jobs, args.threads, hours=args.hours),
            options=size.options, cwd=root, discard_checkpoints=True,
            say=lambda line: print(line, flush=True),
        ).execute()  # fmt: skip
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    for run, reason in swept.failed.items():
        print(f"failed: {run.label}: {reason}\n    {root / 'runs' / run.folder}/sweep.log")
    if args.quick and not swept.failed:
        checks = quick_checks(root / "runs", used["sd"].startswith("trained"))
        print(write_checks(root / "checks.txt", checks), end="")
        print(f"{clock(time.monotonic() - start)} in all")
        return 0 if all(check.passed for check in checks) else 1
    report(root, command, args.confirm)
    return 0 if swept.complete else 1


if __name__ == "__main__":
    sys.exit(main())
