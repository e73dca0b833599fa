"""DINOv2 with Rein and SoMA as plain functions of a state dict in the originals' names: an oracle.

Written from the papers and checked on the stored activations of the original code; shares nothing
with the package.
"""

import json

import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

DINOV2 = dict(
    patch_size=16, embed_dim=24, depth=4, num_heads=2, mlp_ratio=4, img_size=64,
    out_indices=[0, 1, 2, 3],
)  # fmt: skip


def random_vit(vit, patch=None, side=None, rank=None, start=0, seed=0):
    """Random weights in the names of DINOv2's own code; with a rank, of SoMA's."""
    c, hidden, g = vit["embed_dim"], vit["embed_dim"] * 4, torch.Generator().manual_seed(seed)
    patch = patch or vit["patch_size"]
    side = side or vit["img_size"] // patch

    def draw(*shape, std=0.2):
        return torch.randn(*shape, generator=g) * std

    state = {
        "cls_token": draw(1, 1, c), "mask_token": draw(1, c),
        "pos_embed": draw(1, 1 + side * side, c),
        "patch_embed.proj.weight": draw(c, 3, patch, patch, std=0.05),
        "patch_embed.proj.bias": draw(c), "norm.weight": draw(c), "norm.bias": draw(c),
    }  # fmt: skip
    shapes = {"attn.proj": (c, c), "mlp.fc1": (hidden, c), "mlp.fc2": (c, hidden)}
    shapes |= {"attn.qkv": (3 * c, c)} if rank is None else {f"attn.{x}": (c, c) for x in "qkv"}
    for i in range(vit["depth"]):
        for name in ("norm1", "norm2"):
            state[f"blocks.{i}.{name}.weight"] = 1 + draw(c)
            state[f"blocks.{i}.{name}.bias"] = draw(c)
        for name in ("ls1", "ls2"):
            state[f"blocks.{i}.{name}.gamma"] = draw(c, std=0.5)
        for name, shape in shapes.items():
            state[f"blocks.{i}.{name}.weight"] = draw(*shape)
            state[f"blocks.{i}.{name}.bias"] = draw(shape[0])
            if rank is not None and i >= start:
                state[f"blocks.{i}.{name}.lora_A.weight"] = draw(rank, shape[1])
                state[f"blocks.{i}.{name}.lora_B.weight"] = draw(shape[0], rank)
    return state


def random_rein(vit, tokens, rank, width, seed=1):
    """Rein's weights, large enough to matter."""
    c, g = vit["embed_dim"], torch.Generator().manual_seed(seed)
    shapes = {
        "learnable_tokens_a": (vit["depth"], tokens, rank),
        "learnable_tokens_b": (vit["depth"], rank, c),
        "mlp_token2feat.weight": (c, c), "mlp_token2feat.bias": (c,),
        "mlp_delta_f.weight": (c, c), "mlp_delta_f.bias": (c,),
        "transform.weight": (width, c), "transform.bias": (width,),
        "merge.weight": (width, 3 * width), "merge.bias": (width,),
    }  # fmt: skip
    state = {f"reins.{k}": torch.randn(*v, generator=g) * 0.5 for k, v in shapes.items()}
    return {**state, "reins.scale": torch.tensor(0.3)}


def positions(embedding, h, w):
    """DINOv2's interpolation, one factor at a time."""
    n = embedding.shape[1] - 1
    side = int(n**0.5)
    if (h, w) == (side, side):
        return embedding
    grid = embedding[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=((h + 0.1) / side, (w + 0.1) / side), mode="bicubic")
    assert grid.shape[-2:] == (h, w)
    return torch.cat([embedding[:, :1], grid.permute(0, 2, 3, 1).reshape(1, h * w, -1)], dim=1)


def linear(state, name, x):
    out = x @ state[f"{name}.weight"].T + state[f"{name}.bias"]
    if f"{name}.lora_A.weight" in state:
        out = out + x @ state[f"{name}.lora_A.weight"].T @ state[f"{name}.lora_B.weight"].T
    return out


def norm(state, name, x):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)


def refine(state, i, x):
    tokens = state["reins.learnable_tokens_a"][i] @ state["reins.learnable_tokens_b"][i]
    attention = (x @ tokens.T / x.shape[-1] ** 0.5).softmax(-1)
    delta = attention[..., 1:] @ linear(state, "reins.mlp_token2feat", tokens[1:])
    return x + state["reins.scale"] * linear(state, "reins.mlp_delta_f", delta + x)


def queries(state):
    tokens = state["reins.learnable_tokens_a"] @ state["reins.learnable_tokens_b"]
    t = linear(state, "reins.transform", tokens)
    three = [t.max(dim=0).values, t.mean(dim=0), t[-1]]
    return linear(state, "reins.merge", torch.stack(three, dim=2).flatten(1))


def features(state, vit, images):
    """The four levels, as Rein and SoMA resize them."""
    patch, heads = vit["patch_size"], vit["num_heads"]
    x = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], patch)
    h, w = x.shape[-2:]
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], 1)
    x = x + positions(state["pos_embed"], h, w)
    outs = []
    for i in range(vit["depth"]):
        name = f"blocks.{i}"
        y = norm(state, f"{name}.norm1", x)
        if f"{name}.attn.qkv.weight" in state:
            q, k, v = linear(state, f"{name}.attn.qkv", y).chunk(3, dim=-1)
        else:
            q, k, v = (linear(state, f"{name}.attn.{part}", y) for part in "qkv")
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        y = ((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5).softmax(-1) @ v
        y = linear(state, f"{name}.attn.proj", y.transpose(1, 2).flatten(2))
        x = x + state[f"{name}.ls1.gamma"] * y
        y = F.gelu(linear(state, f"{name}.mlp.fc1", norm(state, f"{name}.norm2", x)))
        x = x + state[f"{name}.ls2.gamma"] * linear(state, f"{name}.mlp.fc2", y)
        if "reins.scale" in state:
            x = torch.cat([x[:, :1], refine(state, i, x[:, 1:])], dim=1)
        outs.append(x[:, 1:].transpose(1, 2).unflatten(2, (h, w)))
    scales = (4, 2, 1, 0.5)
    return [F.interpolate(o, scale_factor=s, mode="bilinear") if s != 1 else o
            for o, s in zip(outs, scales, strict=True)]  # fmt: skip


def head_config(width, classes, count, channels):
    """Mask2Former's head at reduced width, and what a set of files says of it."""
    described = dict(
        feat_channels=width, out_channels=width,
        pixel_decoder=dict(layers=1, heads=2, levels=3, points=2, feedforward_channels=16,
                           norm_groups=4, num_outs=3),
        transformer_decoder=dict(layers=2, heads=2, feedforward_channels=16),
        positional_encoding=dict(num_feats=width // 2, normalize=True), strides=[4, 8, 16, 32],
    )  # fmt: skip
    feed = dict(embed_dims=width, feedforward_channels=16, ffn_drop=0.0)
    attention = dict(embed_dims=width, num_heads=2, batch_first=True)
    config = dict(
        type="Mask2FormerHead", in_channels=[channels] * 4, strides=[4, 8, 16, 32],
        feat_channels=width, out_channels=width, num_classes=classes, num_queries=count,
        num_transformer_feat_level=3, positional_encoding=described["positional_encoding"],
        pixel_decoder=dict(
            type="mmdet.MSDeformAttnPixelDecoder", num_outs=3,
            norm_cfg=dict(type="GN", num_groups=4), act_cfg=dict(type="ReLU"),
            positional_encoding=described["positional_encoding"],
            encoder=dict(num_layers=1, layer_cfg=dict(
                ffn_cfg=feed,
                self_attn_cfg=dict(embed_dims=width, num_heads=2, num_levels=3, num_points=2,
                                   dropout=0.0, batch_first=True)))),
        transformer_decoder=dict(
            return_intermediate=True, num_layers=2,
            layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=feed)),
        loss_cls=dict(type="mmdet.CrossEntropyLoss", class_weight=[1.0] * classes + [0.1]),
        loss_mask=dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True),
        loss_dice=dict(type="mmdet.DiceLoss"),
    )  # fmt: skip
    return ConfigDict(config), described


@torch.no_grad()
def write_set(stem, kind, image=(64, 96), classes=5, count=7, width=16, start=1, rank=3):
    """Write a set of files for ``domino verify``; returns the weights in the original's names."""
    vit = DINOV2
    backbone = random_vit(vit, rank=rank if kind == "soma" else None, start=start)
    torch.manual_seed(3)
    config, described = head_config(width, classes, count, vit["embed_dim"])
    head = MODELS.build(config).eval()
    images = torch.randn(2, 3, *image)
    adapter = dict(kind="soma", rank=rank, alpha=rank, start_block=start, components="minor",
                   targets=["q", "k", "v", "proj", "fc1", "fc2"])  # fmt: skip
    stored = {}
    if kind == "rein":
        backbone |= random_rein(vit, count, rank, width)
        adapter = dict(kind="rein, LoRA tokens", token_length=count, lora_dim=rank,
                       query_dims=width, link_token_to_query=True)  # fmt: skip
        stored["queries"] = queries(backbone)
        to_features = nn.Linear(width, width)
        head.query_embed.weight.copy_(stored["queries"])
        head.query_feat.weight.copy_(to_features(stored["queries"]))
    levels = features(backbone, vit, images)
    stored |= {f"feature{i}": level for i, level in enumerate(levels)}
    classes_out, masks = (x[-1] for x in head(levels, [None, None]))
    scores = classes_out.softmax(-1)[..., :-1]
    whole = F.interpolate(masks, size=image, mode="bilinear", align_corners=False).sigmoid()
    segmentation = torch.einsum("bqc,bqhw->bchw", scores, whole)
    stored |= dict(class_logits=classes_out, mask_logits=masks, segmentation_logits=segmentation)
    prefix = "backbone.model." if kind == "soma" else "backbone."
    weights = {prefix + k: v for k, v in backbone.items()}
    weights |= {f"decode_head.{k}": v for k, v in head.state_dict().items()}
    if kind == "rein":
        for name in ("query_embed", "query_feat"):
            del weights[f"decode_head.{name}.weight"]
        weights |= {f"decode_head.querys2feat.{k}": v for k, v in to_features.state_dict().items()}
    description = dict(kind=kind, vit=vit, num_classes=classes, num_queries=count,
                       image=list(image), adapter=adapter, head=described)  # fmt: skip
    stem.with_suffix(".json").write_text(json.dumps(description))
    save_file({k: v.contiguous() for k, v in weights.items()}, f"{stem}.weights.safetensors")
    stored["images"] = images
    save_file({k: v.contiguous() for k, v in stored.items()}, f"{stem}.activations.safetensors")
    return weights
