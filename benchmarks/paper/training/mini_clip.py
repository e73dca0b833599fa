"""Train the mini-CLIP on the street world and write it where the package keeps it.

The same command and seed give a model of the same quality (zero-shot accuracy within a percent);
bytes may differ between processors and versions of torch.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.paper.training.clip_training import (
    TEST_SEEDS,
    TRAIN_SEEDS,
    ClipRecipe,
    domain_accuracy,
    photograph_shares,
    render_pictures,
    train_clip,
    vocabulary_texts,
    write_card,
)
from street_world.cards import TRAINED_FOLDER
from street_world.models import load_tokenizer, write_clip
from street_world.tokenizer import TOKENIZER_FOLDER, write_vocabulary


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    default = ClipRecipe()
    parser.add_argument("--out", default=str(TRAINED_FOLDER / "mini-clip"))
    parser.add_argument("--scenes", type=int, default=default.scenes)
    parser.add_argument("--iterations", type=int, default=default.iterations)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--test-scenes", type=int, default=60)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    parser.add_argument("--vocabulary", action="store_true", help="make the vocabulary anew first")
    parser.add_argument(
        "--real",
        nargs="*",
        default=[],
        metavar="NAME=FOLDER",
        help="folders of real photographs on which to report the scores as well",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.vocabulary:
        write_vocabulary(TOKENIZER_FOLDER, vocabulary_texts())
    recipe = replace(ClipRecipe(), scenes=args.scenes, iterations=args.iterations, seed=args.seed)
    pictures = render_pictures(
        TRAIN_SEEDS + 100_000 * recipe.seed, recipe.scenes, recipe.strength, args.workers
    )
    clip, log = train_clip(recipe, pictures, args.device)
    clip = clip.half().float()  # what is measured is what is shipped
    test = render_pictures(TEST_SEEDS, args.test_scenes, (0.55, 1.0), args.workers)
    results = {"zero_shot_domain_accuracy_percent": domain_accuracy(clip, test, recipe.bank)}
    if args.real:
        results["real_photographs_percent"] = photograph_shares(clip, args.real, recipe.bank)
    folder = Path(args.out)
    write_clip(folder, clip.half(), load_tokenizer())
    weights = folder / "open_clip_model.safetensors"
    write_card(folder / "model_card.json", recipe, log, results, weights)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
