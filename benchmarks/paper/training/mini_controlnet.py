"""Train the mini-ControlNet on the street world and write it where the package keeps it.

Needs the mini-SD, which it steers by label maps in the colours of `mmseg_domino.synthesis`. The
rendered frames may be those of `mini_sd`: give the same working folder. Under half an
hour on 2 cores.

The same command and seed give a model of the same quality: agreement of layout within 0.05, domain
of pictures within 10 percentage points. Bytes may differ between processors and versions of torch.
"""

import argparse
import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel

from benchmarks.paper.training.controlnet_training import ControlnetRecipe, train_controlnet
from benchmarks.paper.training.denoising import TextStates, TrainingData, load_latents
from benchmarks.paper.training.sampling import (
    control_requests,
    judged_domains,
    layout_agreement,
    open_controlled,
)
from benchmarks.paper.training.training import save_half, trained_once
from mmseg_domino.synthesis.colours import class_colours
from street_world.cards import FOLDERS, TRAINED_FOLDER, file_sha256, read_card, write_card
from street_world.frames import FrameRecipe, load_frames
from street_world.models import (
    build_mini_models,
    load_tokenizer,
    load_trained_clip,
    load_trained_sd,
    text_encoder_from_clip,
)
from street_world.street import CLASSES, DOMAINS, render, sample_scene

TEST_SCENES = 980_000_000  # of no training


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=str(TRAINED_FOLDER / FOLDERS["controlnet"]))
    parser.add_argument("--work-dir", default="work_dirs/mini_sd")
    parser.add_argument("--scenes", type=int, default=FrameRecipe().scenes)
    parser.add_argument("--share", type=float, default=1.0, help="of the iterations, for a try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    return parser.parse_args()


def measure(model: Path, controlnet: Path, count: int = 20) -> dict:
    """Layout of pictures from label maps of unseen scenes, and their domain by the mini-CLIP."""
    generator = open_controlled(model, controlnet, steps=15, guidance=2.0)
    scenes = [render(sample_scene(TEST_SCENES + i, generator.size)) for i in range(count)]
    shown = [scene.image for scene in scenes], [scene.label for scene in scenes]
    made = [
        picture.image
        for domain in DOMAINS
        for picture in generator.generate(control_requests(*shown, domain, range(count)))
    ]
    clear = np.stack(made[:count])
    return {
        "layout_agreement_clear_day": layout_agreement(clear, np.stack(shown[0])),
        "judged_of_domain_percent": judged_domains(load_trained_clip(), np.stack(made), "acdc"),
    }


def main() -> None:
    args = parse_args()
    work, out = Path(args.work_dir), Path(args.out)
    frame_recipe = FrameRecipe(scenes=args.scenes, seed=args.seed)
    phases = tuple(
        replace(phase, iterations=max(1, round(args.share * phase.iterations)))
        for phase in ControlnetRecipe().phases
    )
    recipe = ControlnetRecipe(phases=phases, seed=args.seed)
    frames = load_frames(work / "frames", frame_recipe, args.workers)

    def train() -> tuple[ControlNetModel, list[dict]]:
        tokenizer = load_tokenizer()
        encoder = text_encoder_from_clip(load_trained_clip(), tokenizer)
        texts = TextStates(encoder, tokenizer, args.device)
        vae, unet = load_trained_sd()
        latents = load_latents(work / "latents.safetensors", vae, frames, args.device)
        colours = class_colours(CLASSES)
        data = TrainingData(latents, frames, texts)
        return train_controlnet(recipe, unet, data, colours, args.device)

    sd_sha256 = read_card(TRAINED_FOLDER / FOLDERS["sd"])["sha256"]
    parts = {"frames": frame_recipe, "controlnet": recipe, "sd_sha256": sd_sha256}
    controlnet, log = trained_once(ControlNetModel, work / "controlnet", parts, train)
    save_half(controlnet, out)
    with tempfile.TemporaryDirectory() as folder:
        model = build_mini_models(folder)["sd"]
        results = measure(model, out)
    card = {
        "format": "street_world/3",
        "name": "mini-controlnet",
        "weights": "trained on the procedural street world",
        "data": "scenes of street_world.street alone; no photograph",
        "colours": "of mmseg_domino.synthesis.colours (ADE20K's)",
        "recipe": {"frames": asdict(frame_recipe), "controlnet": asdict(recipe)},
        "command": f"python -m benchmarks.paper.training.mini_controlnet --seed {args.seed} "
        f"--share {args.share:g}",
        "sd_sha256": sd_sha256,
        "sha256": file_sha256(out / "diffusion_pytorch_model.safetensors"),
        "results": results,
        "log": log,
    }
    write_card(out, card)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
