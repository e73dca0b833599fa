"""Make images of other domains from the labels of a data set, and keep those that fit them.

    python tools/generate_synthetic.py configs/synthesis/controlnet_cityscapes.py \\
        --domains fog,night,rain,snow --per-label 1 --out data/synthetic/cityscapes

CONFIG is any config with a data set: the images of its `train_dataloader` are used (--loader). What
makes and judges the images is its `synthesis = dict(generator=..., gate=...)`; a config without one
gets Stable Diffusion 1.5 with a segmentation ControlNet and no thresholds. All of it can be set
with --cfg-options, e.g. `synthesis.generator.type=ClassicalWeather`.

Killed and started again, it goes on where it was. Several GPUs share the work under
`torchrun --nproc-per-node N tools/generate_synthetic.py ...`.
"""

import argparse
import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings
from torch import distributed

import mmseg_domino.datasets  # noqa: F401  registers the data sets, MMSegmentation's too
from mmseg_domino.apps.summary import write_summary
from mmseg_domino.domain import load_prompt_bank
from mmseg_domino.synthesis import (
    DiskFullError,
    FolderInUseError,
    GateThresholds,
    LabelledImages,
    OtherMakerError,
    Plan,
    QualityGate,
    SynthesisTree,
    build_generator,
    synthesise,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file")
    parser.add_argument("--domains", required=True, help="keys of the bank, joined by commas")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new data set")
    parser.add_argument("--per-label", type=int, default=1, help="images a label and domain (1)")
    parser.add_argument("--bank", help="prompt bank: a name or file (the config's, else acdc)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="source images at most, spread evenly")
    parser.add_argument("--batch-size", type=int, default=1, help="images at once")
    parser.add_argument("--loader", default="train_dataloader", help="%(default)s")
    parser.add_argument("--device", help="cuda:1, cpu; default: this process's GPU, if any")
    parser.add_argument(
        "--min-free", type=float, default=2.0, help="GiB of disk to leave free (%(default)s)"
    )
    parser.add_argument("--examples", type=int, default=8, help="a domain, in the summary page")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="override settings of the config"
    )
    return parser.parse_args()


def device_of(args: argparse.Namespace) -> str:
    if args.device is None and torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    return args.device or "cpu"


def build_gate(options: dict, bank: str, num_classes: int, device: str) -> QualityGate:
    encoder, segment, name = options.pop("encoder", None), None, None
    segmentor = options.pop("segmentor", None)
    if segmentor is not None:
        from mmseg_domino.apps.segmentor import checkpoint_name, load_segmentor

        segment = load_segmentor(**segmentor, num_classes=num_classes, device=device)
        name = checkpoint_name(segmentor["checkpoint"])
    if encoder is not None:
        from mmseg_domino.domain import DomainEncoder

        encoder = DomainEncoder(**encoder, bank=bank).to(device)
    return QualityGate(GateThresholds(**options), segment, encoder, name)


def run(args: argparse.Namespace, rank: int, world_size: int) -> None:
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get("default_scope", "mmseg"))
    if cfg.get("custom_imports"):
        import_modules_from_strings(**cfg.custom_imports)
    if args.loader not in cfg:
        raise SystemExit(f"{args.config} has no {args.loader}")
    settings = cfg.get("synthesis", {})
    settings = settings.to_dict() if settings else {}
    unknown = set(settings) - {"generator", "gate", "prompts"}
    if unknown:
        raise SystemExit(
            f"`synthesis` has unknown entries {sorted(unknown)}; it takes generator, gate, prompts"
        )
    prompts = settings.get("prompts", {})
    bank = load_prompt_bank(args.bank or prompts.pop("bank", "acdc"))
    prompts.pop("bank", None)
    device = device_of(args)
    source = LabelledImages(cfg[args.loader].dataset)
    plan = Plan(
        domains=[domain.strip() for domain in args.domains.split(",") if domain.strip()],
        bank=bank,
        per_label=args.per_label,
        seed=args.seed,
        limit=args.limit,
        batch_size=args.batch_size,
        min_free=args.min_free,
        **prompts,
    )
    gate = build_gate(settings.get("gate", {}), bank, len(source.classes), device)
    options = settings.get("generator", {"type": "ControlNetGenerator"})
    if options["type"] == "ControlNetGenerator":
        options.setdefault("device", device)
    generator = build_generator(options)
    tree = SynthesisTree(args.out)
    report = synthesise(
        source,
        generator,
        gate,
        tree,
        plan,
        rank=rank,
        world_size=world_size,
        barrier=distributed.barrier if world_size > 1 else lambda: None,
    )
    if rank > 0:
        return
    maker = {"generator": generator.describe(), "gate": gate.describe(), "prompts": plan.describe()}
    page = write_summary(tree, source, report.records, maker, args.examples)
    kept, rejected = report.count("kept"), report.count("rejected")
    for domain in sorted(kept.keys() | rejected.keys()):
        print(f"{domain:<12} {kept[domain]:>6} kept {rejected[domain]:>6} rejected")
    print(f"{report.made} made now by this process. Look at {page}")


def main() -> int:
    args = parse_args()
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world_size > 1:
        # A process waits at the end for the slowest; images take seconds, not hours.
        distributed.init_process_group("gloo", timeout=timedelta(hours=6))
    try:
        run(args, rank, world_size)
    except (
        DiskFullError, FolderInUseError, OtherMakerError, FileNotFoundError, ValueError
    ) as error:  # fmt: skip
        if rank == 0 or isinstance(error, DiskFullError):
            print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if world_size > 1:
            distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
