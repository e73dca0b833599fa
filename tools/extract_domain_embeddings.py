"""Embed all images of a data set with CLIP into one embedding store.

    python tools/extract_domain_embeddings.py CONFIG_OR_FOLDER --bank acdc --out STORE.safetensors

What is not given is what the config's `domino` names: its store, and its encoder's model and bank.
Killed and started again, it continues and gives the same file. Given an existing store, it adds the
images that the store lacks. Several processes share the work under
``torchrun --nproc-per-node N tools/extract_domain_embeddings.py ...``.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path, PurePath

import torch
from torch import distributed
from tqdm import tqdm

from mmseg_domino.domain import DomainEncoder, EmbeddingStore, MissingWeightsError
from mmseg_domino.domain.extraction import DamagedImagesError, ExtractionReport, extract
from mmseg_domino.domain.images import list_images

SPLITS = ("train", "val", "test")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", help="a config file, or a folder that is searched for images")
    parser.add_argument("--out", type=Path, help="the store, a .safetensors file")
    parser.add_argument("--bank", help="prompt bank: a name or file (acdc)")
    parser.add_argument("--model", help="open_clip model, folder or JSON file (ViT-L-14)")
    parser.add_argument("--pretrained", help="its tag, checkpoint file or 'random' (openai)")
    parser.add_argument("--cache-dir", help="where open_clip keeps what it fetches")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument(
        "--workers", type=int, default=min(8, os.cpu_count() or 1), help="decoders a process"
    )
    parser.add_argument("--device", help="cuda, cuda:1, cpu; default: a GPU if there is one")
    parser.add_argument("--skip-bad", action="store_true", help="leave damaged images out")
    parser.add_argument(
        "--splits", nargs="+", choices=SPLITS, default=SPLITS, help="of a config (all)"
    )
    parser.add_argument(
        "--root", type=Path, help="name images by their path from here (each data set's data root)"
    )
    parser.add_argument(
        "--check", action="store_true", help="only say what the store lacks; exit 1 if anything"
    )
    return parser.parse_args()


def is_config(path: str) -> bool:
    return path.endswith((".py", ".json", ".yml", ".yaml"))


def complete(args: argparse.Namespace) -> None:
    """Fill in what was not given: from the config's ``domino``, else the usual values."""
    domino = {}
    if is_config(args.images) and Path(args.images).is_file():
        from mmengine.config import Config

        domino = Config.fromfile(args.images).get("domino") or {}
    encoder = domino.get("encoder") or {}
    args.bank = args.bank or encoder.get("bank", "acdc")
    # A model's tag is no other model's.
    if args.model is None and args.pretrained is None:
        args.model, args.pretrained = encoder.get("model"), encoder.get("pretrained")
    args.model, args.pretrained = args.model or "ViT-L-14", args.pretrained or "openai"
    if args.out is None and domino.get("store") is None:
        raise SystemExit(
            f"{args.images} names no store (domino.store): give --out FILE.safetensors"
        )
    args.out = args.out or Path(domino["store"])


def key_of(file: Path, root: str | Path) -> str:
    return PurePath(os.path.relpath(file, root)).as_posix()


def images_of_config(path: str, splits: tuple[str, ...], root: Path | None) -> dict[str, Path]:
    """Image file by its path from the data root, over all data sets of a config's splits."""
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmseg.registry import DATASETS
    from mmseg.utils import register_all_modules

    from mmseg_domino.datasets import leaf_datasets

    config = Config.fromfile(path)
    register_all_modules(init_default_scope=False)
    init_default_scope(config.get("default_scope", "mmseg"))
    found: dict[str, Path] = {}
    for split in splits:
        loader = config.get(f"{split}_dataloader")
        for leaf in leaf_datasets(loader):
            # Only the list of images is wanted: no transform has to be buildable yet.
            try:
                dataset = DATASETS.build({**leaf, "pipeline": []})
            except FileNotFoundError as error:
                raise SystemExit(
                    f"the {split} data set {leaf['type']} of {path} is not there: {error}. Put it "
                    "at that place or change data_root in the config; --splits takes fewer sets."
                ) from error
            files = [Path(dataset.get_data_info(i)["img_path"]) for i in range(len(dataset))]
            above = root or getattr(dataset, "data_root", None)
            above = above or os.path.commonpath([file.parent for file in files])
            for file in files:
                key = key_of(file, above)
                other = found.setdefault(key, file)
                if os.path.abspath(other) != os.path.abspath(file):
                    raise SystemExit(
                        f"two data sets have an image {key}: {other} and {file}. Give --root, a "
                        "folder above both, or extract them into two stores."
                    )
    return found


def find_images(args: argparse.Namespace) -> dict[str, Path]:
    if Path(args.images).is_dir():
        images = list_images(args.images)
        return {key_of(file, args.root or args.images): file for file in images.values()}
    if is_config(args.images):
        return images_of_config(args.images, tuple(args.splits), args.root)
    raise SystemExit(f"{args.images} is neither a folder nor a config file")


def check(images: Mapping[str, Path], args: argparse.Namespace) -> int:
    store = EmbeddingStore.open(args.out)
    have = set(store.keys)
    missing = [key for key in images if key not in have]
    if not missing:
        print(f"{args.out} has all {len(images)} images")
        return 0
    print(
        f"{args.out} lacks {len(missing)} of {len(images)} images: {', '.join(missing[:5])}"
        f"{', ...' if len(missing) > 5 else ''}\nAdd them with\n"
        f"    {store.command_to_add(args.images)}"
    )
    return 1


def summarise(report: ExtractionReport, args: argparse.Namespace, processes: int) -> None:
    if not report.added:
        print(f"{args.out}: nothing to add, it has all {report.images} images")
    else:
        print(f"{args.out}: added {report.added}, now {report.images} images")
    if report.computed:
        rate = report.computed / max(report.seconds, 1e-9)
        share = 100 * report.waiting / max(report.seconds, 1e-9)
        print(
            f"this process: {report.computed} images in {report.seconds:.1f} s, {rate:.1f} a "
            f"second; {share:.0f} % of it waiting for decoded images, so the limit was "
            f"{'decoding (more --workers)' if report.limit == 'decoding' else 'the encoder'}"
            f"{f' (one of {processes} processes)' if processes > 1 else ''}"
        )
    if report.damaged:
        print(f"left out {len(report.damaged)} damaged images:")
        for key, reason in report.damaged.items():
            print(f"    {key}: {reason}")


def start_processes() -> tuple[int, int]:
    """Join the other processes of torchrun, if there are any."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1:
        # The embeddings go through files; only names go between processes, at the end, when the
        # slowest may be hours behind.
        distributed.init_process_group("gloo", timeout=timedelta(days=2))
    return int(os.environ.get("RANK", 0)), processes


def pick_device(name: str | None) -> torch.device:
    if name is not None:
        return torch.device(name)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())


def main() -> int:
    args = parse_args()
    complete(args)
    images = find_images(args)
    if args.check:
        return check(images, args)
    rank, processes = start_processes()
    try:
        encoder = DomainEncoder(
            args.model, args.pretrained, args.bank, args.precision, cache_dir=args.cache_dir
        ).to(pick_device(args.device))
        report = extract(
            images,
            encoder,
            args.out,
            batch_size=args.batch_size,
            workers=args.workers,
            skip_bad=args.skip_bad,
            progress=tqdm if rank == 0 else None,
        )
    except (DamagedImagesError, MissingWeightsError, ValueError) as error:
        if rank == 0:
            print(error, file=sys.stderr)
        return 1
    finally:
        if processes > 1:
            distributed.destroy_process_group()
    if rank == 0:
        summarise(report, args, processes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
