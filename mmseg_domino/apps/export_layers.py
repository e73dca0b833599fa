"""Layers of trained models as they are exported.

Shapes: ``B`` batch, ``C`` channels, ``L`` positions of all levels together, ``h w`` a level's size.
"""

from collections.abc import Callable, Sequence

import torch
from mmseg.models.utils import Upsample
from torch import Tensor, nn
from torch.nn import functional as F

_PIXEL_DECODER = "MSDeformAttnPixelDecoder"


class WholeUpsample(Upsample):
    """mmseg's layer by a whole factor: its own sizes go by floats, which tracers take as fixed."""

    def forward(self, x: Tensor) -> Tensor:
        size = [length * int(self.scale_factor) for length in x.shape[-2:]]
        return F.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)


def free_sizes(model: nn.Module) -> None:
    """Exchange layers that a tracer would hold to one size for such that it follows, in place."""
    for module in model.modules():
        if type(module) is Upsample and not module.size and module.scale_factor.is_integer():
            module.__class__ = WholeUpsample


def fix_sizes(model: nn.Module, run: Callable[[], object]) -> bool:
    """Replace parts that read their input's size as tensors by such that know it, in place.

    Those are Mask2Former's pixel decoders (of mmdet): no tracer can follow them.

    Args:
        model: The network.
        run: Runs it once on input of the size that it shall be for.

    Returns:
        Whether there was one. The model is then for this size alone.
    """
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child).__name__ == _PIXEL_DECODER
    ]
    for parent, name, decoder in found:
        seen: list[dict] = []
        handle = decoder.encoder.register_forward_pre_hook(
            lambda _, args, kwargs, seen=seen: seen.append(kwargs), with_kwargs=True
        )
        try:
            run()
        finally:
            handle.remove()
        setattr(parent, name, FixedPixelDecoder(decoder, seen[0]))
    return bool(found)


class FixedPixelDecoder(nn.Module):
    """mmdet's ``MSDeformAttnPixelDecoder`` for features of one size.

    Args:
        decoder: The decoder; its layers are used, and its attention layers replaced.
        seen: What it handed to its transformer for features of that size.

    Shape:
        - Input: a sequence of ``(B, C_i, h_i, w_i)``, finest first.
        - Output: the mask features ``(B, C, h, w)``, and features of some levels, coarsest first.
    """

    def __init__(self, decoder: nn.Module, seen: dict) -> None:
        super().__init__()
        self.decoder = decoder
        self.sizes = [tuple(size) for size in seen["spatial_shapes"].tolist()]
        self.register_buffer("positions", seen["query_pos"][:1].detach().clone())
        self.register_buffer("references", seen["reference_points"][:1].detach().clone())
        for layer in decoder.encoder.layers:
            layer.self_attn = FixedDeformableAttention(layer.self_attn, self.sizes)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        decoder, batch = self.decoder, features[0].shape[0]
        coarse = [conv(features[-1 - i]) for i, conv in enumerate(decoder.input_convs)]
        memory = decoder.encoder(
            query=torch.cat([level.flatten(2) for level in coarse], dim=2).transpose(1, 2),
            query_pos=self.positions.expand(batch, -1, -1),
            reference_points=self.references.expand(batch, -1, -1, -1),
            # without padding, and with sizes that the attention layers know
            **dict.fromkeys(
                ("key_padding_mask", "spatial_shapes", "level_start_index", "valid_ratios")
            ),
        )
        parts = memory.transpose(1, 2).split([h * w for h, w in self.sizes], dim=2)
        levels = [part.unflatten(2, size) for part, size in zip(parts, self.sizes, strict=True)]
        for index in reversed(range(len(features) - len(coarse))):
            side = decoder.lateral_convs[index](features[index])
            above = F.interpolate(
                levels[-1], size=side.shape[-2:], mode="bilinear", align_corners=False
            )
            levels.append(decoder.output_convs[index](side + above))
        return decoder.mask_feature(levels[-1]), levels[: decoder.num_outs]


class FixedDeformableAttention(nn.Module):
    """mmcv's ``MultiScaleDeformableAttention`` over levels of known sizes, batch first.

    Args:
        attention: The layer.
        sizes: Height and width of each level.
    """

    def __init__(self, attention: nn.Module, sizes: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        if not attention.batch_first:
            raise ValueError("only deformable attention with batch_first=True can be exported")
        self.attention, self.sizes = attention, sizes
        self.register_buffer("scale", torch.tensor([(w, h) for h, w in sizes]).float())

    def forward(
        self,
        query: Tensor,
        value: Tensor | None = None,
        identity: Tensor | None = None,
        query_pos: Tensor | None = None,
        reference_points: Tensor | None = None,
        **_: object,
    ) -> Tensor:
        # By grid_sample, which ONNX has; the stand-in's embedding_bag it has not.
        from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

        layer, batch = self.attention, query.shape[0]
        value = query if value is None else value
        identity = query if identity is None else identity
        query = query if query_pos is None else query + query_pos
        places = (layer.num_heads, layer.num_levels, layer.num_points)
        value = layer.value_proj(value).unflatten(2, (layer.num_heads, -1))
        offsets = layer.sampling_offsets(query).unflatten(2, (*places, 2))
        weights = layer.attention_weights(query).unflatten(2, (layer.num_heads, -1)).softmax(-1)
        weights = weights.reshape(batch, -1, *places)
        locations = reference_points[:, :, None, :, None] + offsets / self.scale[:, None]
        # Half precision tells positions apart by a thousandth of the image only.
        precise = (x.float() for x in (locations, weights))
        out = multi_scale_deformable_attn_pytorch(value.float(), self.sizes, *precise)
        return layer.output_proj(out.to(query.dtype)) + identity
