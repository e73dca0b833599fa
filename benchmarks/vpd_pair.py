"""Both sides of the comparison of ``backbone.py``, with the same random weights."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from plain_vpd import PlainVPD
from torch import Tensor, nn

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.models.backbones import DominoVPD
from mmseg_domino.models.diffusion.architecture import resolve_architecture

CLASSES = 19
#: ``tf32`` is float32 as PyTorch computes it unless told otherwise: cards of Ampere and later round
#: the inputs of convolutions to ten bits. ``float32`` does not.
DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
#: Ways to compile; the last two replay the launches of a whole pass.
_COMPILED = {
    "compile": {},
    "capture": {"backend": "cudagraphs"},
    "graphs": {"mode": "reduce-overhead"},
}
#: What ``--small`` changes in Stable Diffusion's architecture.
_SMALL = dict(
    unet=dict(
        sample_size=32, block_out_channels=(32, 64, 64, 64), cross_attention_dim=48,
        attention_head_dim=4, norm_num_groups=8,
    ),
    vae=dict(block_out_channels=(16, 32, 32, 32), norm_num_groups=8),
)  # fmt: skip


def architecture(args: argparse.Namespace) -> dict:
    parts = resolve_architecture("sd15")
    return {k: {**part, **_SMALL[k]} for k, part in parts.items()} if args.small else parts


@dataclass(frozen=True)
class Variant:
    """How a side computes, such as ``bfloat16+weights+graphs``.

    Attributes:
        name: The dtype of autocast (none for float32 and tf32), then any of ``weights`` (the
            UNet's are of that dtype, too, for inference) and one of ``compile``, ``capture`` and
            ``graphs``.
    """

    name: str

    def __post_init__(self) -> None:
        unknown = set(self.name.split("+")[1:]) - {"weights", *_COMPILED}
        if unknown or self.dtype not in DTYPES:
            raise ValueError(
                f"{self.name!r} is not one of {', '.join(DTYPES)}, followed by any of +weights "
                f"and one of +{', +'.join(_COMPILED)}"
            )

    @property
    def dtype(self) -> str:
        return self.name.split("+")[0]

    @property
    def weights(self) -> bool:
        return "weights" in self.name.split("+")

    @property
    def compile(self) -> Mapping | bool:
        return next((_COMPILED[p] or True for p in self.name.split("+") if p in _COMPILED), False)

    def run(self, call: Callable[[], object], device: str) -> Callable[[], object]:
        """A call under this autocast, as a step of its own to CUDA graphs."""
        kind = torch.device(device).type

        half = DTYPES[self.dtype] != torch.float32

        def step() -> object:
            torch.compiler.cudagraph_mark_step_begin()
            torch.backends.cudnn.allow_tf32 = self.dtype == "tf32"
            with torch.autocast(kind, DTYPES[self.dtype], enabled=half):
                return call()

        return step


def build_ours(
    args: argparse.Namespace, vae: str | None = None, compile: Mapping | bool = False
) -> DominoVPD:
    """Our backbone with random weights, channels last."""
    torch.manual_seed(0)
    return DominoVPD(
        dict(name="random", architecture=architecture(args)),
        classes=dict(count=CLASSES),
        attention=dict(gate=False),
        vae=dict(weights=vae),
        execution=dict(channels_last=True, checkpointing=args.checkpointing, compile=compile),
    )


def build_plain(args: argparse.Namespace) -> PlainVPD:
    """The reference with random weights."""
    parts = architecture(args)
    tokens = torch.randn(CLASSES, parts["unet"]["cross_attention_dim"])
    return PlainVPD(parts["unet"], parts["vae"], tokens)


def quickly(build: Callable[[argparse.Namespace], nn.Module], args: argparse.Namespace):
    """A model whose random weights are drawn once and repeated: 860 M draws take many seconds."""
    with torch.device("meta"):
        model = build(args)
    model.to_empty(device=args.device)
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.randn(2**20, generator=generator) * 0.02).to(args.device)
    for name, tensor in model.state_dict().items():
        if tensor.ndim < 2:
            tensor.fill_(1.0 if name.endswith("weight") else 0.0)
            continue
        repeats = -(-tensor.numel() // len(drawn))
        tensor.copy_(drawn.repeat(repeats)[: tensor.numel()].view(tensor.shape))
    return model


def build_pair(args: argparse.Namespace) -> tuple[DominoVPD, PlainVPD]:
    """Both sides with the same weights, for inference."""
    ours, plain = quickly(build_ours, args).eval(), quickly(build_plain, args).eval()
    missing = plain.unet.load_state_dict(ours.unet.state_dict(), strict=False).missing_keys
    assert all(key.startswith(("conv_norm_out.", "conv_out.")) for key in missing)
    plain.vae.encoder.load_state_dict(ours.vae.encoder.state_dict())
    plain.vae.quant_conv.load_state_dict(ours.vae.quant_conv.state_dict())
    context = {f"{k}": v for k, v in ours.context.state_dict().items()}
    assert not plain.load_state_dict(context, strict=False).unexpected_keys
    return ours, plain


def variant_of(ours: DominoVPD, args: argparse.Namespace, variant: Variant) -> DominoVPD:
    """The same model, computing in another way; it shares the weights where that is possible."""
    with torch.device("meta"):
        model = build_ours(args, compile=variant.compile)
    model.load_state_dict(ours.state_dict(), assign=True)
    if variant.weights:
        model.unet.to(DTYPES[variant.dtype])
    return model.train(ours.training)


def inputs(args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Images in [-1, 1] and embeddings of their domains."""
    generator = torch.Generator().manual_seed(1)
    width = architecture(args)["unet"]["cross_attention_dim"]
    images = torch.rand(args.batch, 3, *args.size, generator=generator) * 2 - 1
    domain = torch.randn(args.batch, width, generator=generator)
    return images.to(args.device), domain.to(args.device)


def segmentor(args: argparse.Namespace, backbone: nn.Module, **test_cfg) -> nn.Module:
    """A model over a backbone: our segmentor over ours, the stock one over the reference."""
    channels = architecture(args)["unet"]["block_out_channels"]
    channels = [c + CLASSES * (level in (1, 2)) for level, c in enumerate(channels)]
    torch.manual_seed(2)
    ours = isinstance(backbone, DominoVPD)
    MODELS.register_module(name="GivenBackbone", module=nn.Identity, force=True)
    model = MODELS.build(
        dict(
            type="DominoEncoderDecoder" if ours else "EncoderDecoder",
            backbone=dict(type="GivenBackbone"),
            neck=dict(type="FPN", in_channels=channels, out_channels=256, num_outs=4),
            decode_head=dict(
                type="FPNHead", in_channels=[256] * 4, in_index=[0, 1, 2, 3],
                feature_strides=[8, 16, 32, 64], channels=128, num_classes=CLASSES,
                norm_cfg=dict(type="BN"), dropout_ratio=0,
            ),
        )
    )  # fmt: skip
    model.backbone = backbone
    model.test_cfg = ConfigDict(
        mode="slide", crop_size=(args.crop,) * 2, stride=(args.stride,) * 2, **test_cfg
    )
    return model.to(args.device).eval()
