"""What the miniature diffusion models know, against the same networks with random weights.

    python benchmarks/mini_models.py --real day=FOLDER dusk=FOLDER

Zero-shot: domain accuracy of the mini-CLIP on held-out scenes, and, without adjustment, the domains
it sees in photographs. Linear probe: one 1 x 1 convolution over the frozen features of `DominoVPD`
(all options at their defaults, no domain), trained on clear days and tested on held-out scenes in
every domain; the trained mini-SD, the trained autoencoder with a random UNet, and everything
random; the same images, budget and seeds. Control: agreement of pictures that `ControlNetGenerator`
makes from label maps with those maps, by a probe trained on rendered frames of all domains; beside
it the agreement on rendered frames (the judge's own error) and on pictures made from other maps
(chance).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.paper.training.clip_training import (
    TEST_SEEDS,
    domain_accuracy,
    photograph_shares,
    render_pictures,
)
from benchmarks.paper.training.probe import (
    LinearProbe,
    ProbeRecipe,
    confusion,
    mean_iou,
    stack_levels,
    train_probe,
)
from benchmarks.paper.training.sampling import control_requests, open_controlled
from mmseg_domino.models.backbones import DominoVPD
from street_world.frames import FrameRecipe, Frames, load_frames
from street_world.models import build_mini_models, load_trained_clip
from street_world.street import CLASSES, DOMAINS

TRAIN = FrameRecipe(scenes=200, shown=5, size=(128, 256), strength=(0.55, 1.0), seed=91)
TEST = FrameRecipe(scenes=60, shown=5, size=(128, 256), strength=(0.55, 1.0), seed=92)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work-dir", default="work_dirs/mini_models", help="keeps the frames")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=ProbeRecipe().iterations)
    parser.add_argument("--pictures", type=int, default=10, help="controlled ones of each domain")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--real", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--only", choices=("zero-shot", "probe", "control"))
    return parser.parse_args()


@torch.no_grad()
def features(backbone: DominoVPD, images: np.ndarray) -> torch.Tensor:
    """(B, C, h, w) of uint8 RGB images (B, H, W, 3)."""
    parts = []
    for chunk in np.array_split(images, -(-len(images) // 8)):
        batch = torch.from_numpy(np.array(chunk)).permute(0, 3, 1, 2).float() / 127.5 - 1
        parts.append(stack_levels(backbone(batch)))
    return torch.cat(parts)


def labels_of(frames: Frames) -> torch.Tensor:
    return torch.from_numpy(np.array(frames.labels)[frames.scenes])


def backbone_of(kind: str, models: dict[str, Path], random: dict[str, Path]) -> DominoVPD:
    """The frozen backbone of one row of the table."""
    names = {"trained": models, "random UNet": random, "random": random}
    vae = str(models["sd"] / "vae") if kind == "random UNet" else None
    backbone = DominoVPD(
        str(names[kind]["sd"]), CLASSES, injection="none", tune="frozen", vae=dict(weights=vae)
    )
    return backbone.eval()


def probe_table(args: argparse.Namespace, train: Frames, test: Frames, folder: Path) -> None:
    """Print mIoU by domain of each network, mean and deviation over the seeds."""
    models = build_mini_models(folder / "trained")
    clear = train.domains == 0
    labels, truth = labels_of(train)[torch.from_numpy(clear)], labels_of(test)
    print(f"| network | {' | '.join(DOMAINS)} | mean |\n|{'---|' * (len(DOMAINS) + 2)}")
    for kind in ("trained", "random UNet", "random"):
        rows = []
        for seed in args.seeds:
            random = build_mini_models(folder / f"random{seed}", seed=seed, trained=False)
            if kind != "trained" or not rows:
                backbone = backbone_of(kind, models, random)
                known = features(backbone, train.images[clear])
                seen = features(backbone, test.images)
            probe = train_probe(known, labels, ProbeRecipe(args.iterations, seed=seed))
            ious = []
            for number in range(len(DOMAINS)):
                chosen = torch.from_numpy(test.domains == number)
                ious.append(mean_iou(confusion(probe, seen[chosen], truth[chosen])))
            rows.append([*ious, np.mean(ious)])
        mean, std = np.mean(rows, 0), np.std(rows, 0)
        cells = " | ".join(f"{m:.1f} ± {s:.1f}" for m, s in zip(mean, std, strict=True))
        print(f"| {kind} | {cells} |", flush=True)


def agreement(probe: LinearProbe, seen: torch.Tensor, labels: torch.Tensor) -> str:
    matrix = confusion(probe, seen, labels)
    return f"{100 * np.diag(matrix).sum() / matrix.sum():.1f} | {mean_iou(matrix):.1f}"


def control_table(args: argparse.Namespace, train: Frames, test: Frames, folder: Path) -> None:
    """Print how well controlled pictures agree with their label maps."""
    models = build_mini_models(folder / "trained")
    backbone = backbone_of("trained", models, models)
    few = slice(0, 300)
    judge = train_probe(
        features(backbone, train.images[few]), labels_of(train)[few], ProbeRecipe(args.iterations)
    )
    generator = open_controlled(models["sd"], models["controlnet"], steps=20, guidance=3.0)
    pictures, maps, rendered = [], [], []
    for number, domain in enumerate(DOMAINS):
        frames = np.flatnonzero(test.domains == number)[: args.pictures]
        images, labels = test.images[frames], test.labels[test.scenes[frames]]
        requests = control_requests(images, labels, domain, frames.tolist())
        pictures += [generator.generate([request])[0].image for request in requests]
        maps += list(labels)
        rendered += list(images)
    labels = torch.from_numpy(np.stack(maps))
    made = features(backbone, np.stack(pictures))
    print("\n| pictures | pixels, % | mIoU, % |\n|---|---|---|")
    print("| rendered |", agreement(judge, features(backbone, np.stack(rendered)), labels), "|")
    print("| controlled |", agreement(judge, made, labels), "|")
    print("| controlled by another map |", agreement(judge, made, labels.roll(1, 0)), "|")


def zero_shot_table(args: argparse.Namespace) -> None:
    """Print the mini-CLIP's accuracy by domain, and what it makes of photographs."""
    clip = load_trained_clip()
    pictures = render_pictures(TEST_SEEDS, 60, (0.55, 1.0), args.workers)
    rows = {"held-out scenes, accuracy": domain_accuracy(clip, pictures, "acdc")}
    rows.update(photograph_shares(clip, args.real, "acdc"))
    print(f"| % | {' | '.join(DOMAINS)} |\n|{'---|' * (len(DOMAINS) + 1)}")
    for name, row in rows.items():
        count = f" ({row['images']} photographs)" if "images" in row else ""
        print(f"| {name}{count} | {' | '.join(f'{row[key]:.1f}' for key in DOMAINS)} |")
    print(flush=True)


def main() -> None:
    args = parse_args()
    work = Path(args.work_dir)
    if args.only in (None, "zero-shot"):
        zero_shot_table(args)
    if args.only == "zero-shot":
        return
    train = load_frames(work / "train", TRAIN, args.workers)
    test = load_frames(work / "test", TEST, args.workers)
    with tempfile.TemporaryDirectory() as folder:
        if args.only in (None, "probe"):
            probe_table(args, train, test, Path(folder))
        if args.only in (None, "control"):
            control_table(args, train, test, Path(folder))


if __name__ == "__main__":
    main()
