"""Adapters against each other: trained parameters at true size, time and memory of a step.

    python benchmarks/adapters.py                          # 12 narrow blocks: seconds
    python benchmarks/adapters.py --width 1024 --image 512 --depth 3 --repeats 4  # as wide as ViT-L

Counts are of DINOv2 ViT-L on the meta device. Steps (forward and backward of the backbone, batch 1)
are of a ViT with random weights, by turns in one process; what is printed is the median of the
ratios of neighbouring runs. LoRA and SoMA are in the last two thirds of the blocks, as SoMA's paper
has it, or from --start on. A frozen backbone needs no backward pass, so that Rein is also compared
with one through which gradients go on, which is what a frozen backbone under domain-adaptive norms
is. These are in all blocks, so that gradients go on to the first, which LoRA and SoMA alone spare
them in the first third. Memory is what autograd keeps for the backward pass.
"""

import argparse
import statistics
import time

import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import mmseg_domino.plugin  # noqa: F401  registers the parts

TUNES = ("full", "frozen", "norms", "lora", "rein", "soma")
#: LoRA as SoMA is: on all linear layers of the blocks from the eighth.
LORA = dict(rank=16, targets=r"blocks\.(8|9|1\d|2\d)\.(attn|mlp)\.")


class Meta(TorchFunctionMode):
    """Schedules, which timm reads back while it builds a model, are computed."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.linspace:
            kwargs["device"] = "cpu"
        return function(*args, **kwargs)


def build(tune: str, domino: bool, options: dict, start: int = 8) -> nn.Module:
    adapter = {"lora": LORA, "soma": dict(start_block=start), "rein": {}}.get(tune)
    if tune == "lora" and start != 8:
        blocks = "|".join(map(str, range(start, 24)))
        adapter = dict(rank=16, targets=rf"blocks\.({blocks})\.(attn|mlp)\.")
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type="DominoBackbone",
            backbone=dict(
                type="TimmViT", model="vit_large_patch14_dinov2", weights=None,
                resampling="bicubic", options=dict(patch_size=16, **options),
            ),
            domain_channels=768,
            injection="subtract" if domino else "none",
            tune=tune,
            adapter=adapter,
        )
    )  # fmt: skip


def step(model: nn.Module, image: Tensor, domain: Tensor, through: bool) -> tuple[float, int]:
    """Seconds of a step, and bytes that autograd keeps for its backward pass."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    image = image.clone().requires_grad_(through)
    begin = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = sum(feature.square().mean() for feature in model(image, domain))
    if loss.requires_grad:
        loss.backward()
    seconds = time.perf_counter() - begin
    model.zero_grad(set_to_none=True)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    return seconds, sum(size for place, size in kept.items() if place not in own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--image", type=int, default=256)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--start", type=int, help="first block of LoRA and SoMA; a third of depth")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    init_default_scope("mmseg")
    torch.set_num_threads(1)

    print("trained parameters of the backbone, ViT-L, millions")
    print(f"{'tune':<8}{'plain':>10}{'Domino':>10}")
    for tune in TUNES:
        counts = []
        for domino in (False, True):
            with torch.device("meta"), Meta():
                model = build(tune, domino, dict(img_size=512))
            counts.append(sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6)
        print(f"{tune:<8}{counts[0]:>10.3f}{counts[1]:>10.3f}")

    options = dict(
        img_size=args.image, embed_dim=args.width, depth=args.depth, num_heads=args.width // 64
    )
    image = torch.randn(1, 3, args.image, args.image)
    domain = torch.randn(1, 768)
    cases = [(tune, False, False) for tune in TUNES] + [("frozen", False, True)]
    cases += [(tune, True, False) for tune in ("frozen", "lora", "rein", "soma")]
    start = args.depth // 3 if args.start is None else args.start
    models = {case: build(case[0], case[1], options, start).train() for case in cases}
    times: dict[tuple, list[float]] = {case: [] for case in cases}
    memory = {}
    for repeat in range(args.repeats + 1):
        for case, model in models.items():
            seconds, memory[case] = step(model, image, domain, case[2])
            if repeat:  # the first prepares kernels
                times[case].append(seconds)

    def ratio(case: tuple, base: tuple) -> float:
        pairs = zip(times[case], times[base], strict=True)
        return statistics.median(one / other for one, other in pairs)

    print(
        f"\na step: {args.depth} blocks of width {args.width}, image of {args.image}, LoRA and SoMA"
    )
    print(f"from block {start}; medians of ratios")
    print(f"{'case':<28}{'ms':>8}{'time / full':>13}{'memory / full':>15}")
    full = ("full", False, False)
    for case in cases:
        name = case[0] + (" + Domino" if case[1] else "") + (" (gradients pass)" if case[2] else "")
        milliseconds = 1000 * statistics.median(times[case])
        print(
            f"{name:<28}{milliseconds:>8.0f}{ratio(case, full):>13.2f}"
            f"{memory[case] / memory[full]:>15.2f}"
        )
    goals = [
        ("rein / frozen", "rein", "frozen", False, 1.15),
        ("rein / frozen, gradients pass", "rein", "frozen", True, 1.15),
        ("soma / lora", "soma", "lora", False, 1.1),
    ]
    print(f"\n{'ratio':<34}{'measured':>9}{'goal':>7}")
    for name, one, other, through, goal in goals:
        print(f"{name:<34}{ratio((one, False, False), (other, False, through)):>9.2f}{goal:>7}")
    for tune in ("lora", "rein", "soma"):
        measured = ratio((tune, True, False), (tune, False, False))
        print(f"{f'{tune} + Domino / {tune}':<34}{measured:>9.2f}{1.05:>7}")


if __name__ == "__main__":
    main()
