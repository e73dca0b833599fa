"""Train the mini-SD on the street world and write it where the package keeps it.

Needs the mini-CLIP, whose text tower it is trained with. Frames, autoencoder and UNet are kept in
the working folder: a second call goes on after the last finished one. Under an hour on 2 cores.

The same command and seed give a model of the same quality: reconstruction within 0.5 dB, domain of
samples within 10 percentage points. Bytes may differ between processors and versions of torch.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ModelMixin, UNet2DConditionModel

from benchmarks.paper.training.denoising import TextStates, TrainingData, load_latents
from benchmarks.paper.training.sampling import (
    domain_prompts,
    judged_domains,
    open_pipeline,
    sample_pictures,
)
from benchmarks.paper.training.training import save_half, trained_once
from benchmarks.paper.training.unet_training import UnetRecipe, train_unet
from benchmarks.paper.training.vae_training import (
    DecoderRecipe,
    VaeRecipe,
    reconstruction_psnr,
    train_decoder,
    train_vae,
)
from street_world.cards import FOLDERS, TRAINED_FOLDER, file_sha256, read_card, write_card
from street_world.frames import FrameRecipe, load_frames
from street_world.models import load_tokenizer, load_trained_clip, text_encoder_from_clip, write_sd

TEST_FRAMES = FrameRecipe(scenes=10, shown=5, strength=(0.55, 1.0), seed=90)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=str(TRAINED_FOLDER / FOLDERS["sd"]))
    parser.add_argument("--work-dir", default="work_dirs/mini_sd")
    parser.add_argument("--scenes", type=int, default=FrameRecipe().scenes)
    parser.add_argument("--share", type=float, default=1.0, help="of the iterations, for a try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=20, help="judged, of each domain")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    return parser.parse_args()


def recipes(frames: FrameRecipe, share: float, seed: int) -> dict:
    """The recipes with a share of their iterations, by the part that they train."""

    def shortened(part):
        return replace(part, iterations=max(1, round(share * part.iterations)))

    phases = tuple(shortened(phase) for phase in UnetRecipe().phases)
    return {
        "vae": replace(shortened(VaeRecipe()), frames=frames, seed=seed),
        "decoder": replace(shortened(DecoderRecipe()), seed=seed),
        "unet": replace(UnetRecipe(), phases=phases, seed=seed),
    }


def measure(folder: Path, vae: AutoencoderKL, test_images, samples: int, bank: str) -> dict:
    """Reconstruction of held-out frames, and what the mini-CLIP makes of samples."""
    prompts = domain_prompts(bank, samples)
    pictures = sample_pictures(open_pipeline(folder), prompts, seed=1000)
    return {
        "reconstruction_psnr_db": round(reconstruction_psnr(vae, test_images), 2),
        "samples_judged_of_domain_percent": judged_domains(load_trained_clip(), pictures, bank),
    }


def main() -> None:
    args = parse_args()
    work, out = Path(args.work_dir), Path(args.out)
    frame_recipe = FrameRecipe(scenes=args.scenes, seed=args.seed)
    recipe = recipes(frame_recipe, args.share, args.seed)
    frames = load_frames(work / "frames", frame_recipe, args.workers)
    tokenizer = load_tokenizer()
    encoder = text_encoder_from_clip(load_trained_clip(), tokenizer)
    clip_sha256 = read_card(TRAINED_FOLDER / FOLDERS["clip"])["sha256"]

    def stage(kind: type[ModelMixin], names: str, train) -> tuple[ModelMixin, list[dict]]:
        """A stage that depends on the recipes named, its own last."""
        known = {name: recipe[name] for name in names.split()}
        return trained_once(kind, work / names.split()[-1], known, train)

    def train_on_latents() -> tuple[ModelMixin, list[dict]]:
        latents = load_latents(work / "latents.safetensors", vae, frames, args.device)
        texts = TextStates(encoder, tokenizer, args.device)
        return train_unet(recipe["unet"], TrainingData(latents, frames, texts), args.device)

    log = {}
    vae, log["vae"] = stage(
        AutoencoderKL, "vae", lambda: train_vae(recipe["vae"], frames, args.device)
    )
    vae, log["decoder"] = stage(
        AutoencoderKL,
        "vae decoder",
        lambda: train_decoder(recipe["decoder"], vae, frames, args.device),
    )
    # What is measured, and what the UNet is trained on, is what is shipped.
    vae = save_half(vae, out / "vae")
    unet, log["unet"] = stage(UNet2DConditionModel, "vae unet", train_on_latents)
    unet = save_half(unet, out / "unet")
    write_sd(work / "model", vae, unet, encoder.cpu(), tokenizer)
    test = load_frames(work / "test", TEST_FRAMES, args.workers)
    results = measure(work / "model", vae, test.images, args.samples, recipe["unet"].bank)
    weights = "diffusion_pytorch_model.safetensors"
    card = {
        "format": "street_world/3",
        "name": "mini-sd",
        "weights": "trained on the procedural street world",
        "data": "scenes of street_world.street alone; no photograph",
        "recipe": {name: asdict(part) for name, part in recipe.items()},
        "command": f"python -m benchmarks.paper.training.mini_sd --seed {args.seed} "
        f"--share {args.share:g}",
        "clip_sha256": clip_sha256,
        "sha256": {part: file_sha256(out / part / weights) for part in ("vae", "unet")},
        "results": results,
        "log": log,
    }
    write_card(out, card)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
