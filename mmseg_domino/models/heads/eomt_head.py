"""EoMT: a plain vision transformer that is its own mask transformer (arXiv 2503.19108).

Shapes: ``B`` batch, ``Q`` queries, ``C`` channels, ``N`` classes, ``P`` class and register tokens,
``h w`` the grid of patches.
"""

import inspect
from collections.abc import Mapping, Sequence

import torch
from mmengine.logging import MessageHub
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.timm_vit import build_vit, load_vit
from ..layers.level_norms import LayerNorm2d
from ..layers.patches import load_from_whole
from .mask_loss import MaskSetLoss, class_masks


def _forget_probabilities(head: "EoMTHead", keys: object) -> None:
    head._probabilities = None


class _Upscale(nn.Module):
    """Double the resolution of ``(B, C, h, w)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = LayerNorm2d(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(F.gelu(self.up(x))))


class _Blocks(nn.Module):
    """The last blocks of timm's transformer, its final norm and rotary positions."""

    def __init__(self, model: str, count: int, options: Mapping) -> None:
        super().__init__()
        vit = build_vit(model, options)
        if not 0 < count < len(vit.blocks):
            raise ValueError(
                f"num_blocks must be 1 to {len(vit.blocks) - 1}, since {model} has "
                f"{len(vit.blocks)} blocks; got {count}"
            )
        first = len(vit.blocks) - count
        if "attn_mask" not in inspect.signature(vit.blocks[-1].forward).parameters or getattr(
            vit, "rope_mixed", False
        ):
            raise ValueError(
                f"the blocks of {model} take no attention mask, or positions of their own; EoMT "
                "works with DINOv2, DINOv3, EVA-02, MAE and SigLIP"
            )
        self.blocks = nn.ModuleDict({str(first + i): vit.blocks[first + i] for i in range(count)})
        # Where timm pools patches by their average, the final norm is called otherwise.
        self.final = "fc_norm" if isinstance(vit.norm, nn.Identity) else "norm"
        self.add_module(self.final, getattr(vit, self.final))
        self.rope = getattr(vit, "rope", None)
        self.embed_dims = vit.embed_dim

    def normalise(self, x: Tensor) -> Tensor:
        """The final norm."""
        return getattr(self, self.final)(x)

    def step(self, index: str, x: Tensor, grid: tuple[int, int], mask: Tensor | None) -> Tensor:
        """One block over ``(B, prefix + h * w, C)``."""
        block = self.blocks[index]
        if self.rope is None:
            return block(x, attn_mask=mask)
        block.attn.num_prefix_tokens = x.shape[1] - grid[0] * grid[1]
        return block(x, rope=self.rope.get_embed(shape=grid), attn_mask=mask)


@MODELS.register_module()
class EoMTHead(BaseDecodeHead):
    """Queries that go through the last blocks of the backbone's own transformer with the patches.

    The backbone is ``TimmViT`` of the same model, up to the block before these, with its class and
    register tokens::

        backbone=dict(type='TimmViT', model=MODEL, out_indices=(19,), prefix_tokens=True),
        decode_head=dict(type='EoMTHead', model=MODEL, num_blocks=4, num_classes=19),

    While it trains, a query attends to patches inside its own mask, as the block before predicts
    it. With the progress of the run this is given up for more and more queries, block by block, so
    that the trained model needs no masks: a query of block ``i`` of ``n`` is masked with a
    probability that falls from 1 to 0 as ``(1 - t) ** 0.9`` over the ``i``-th of ``n`` equal parts
    of ``annealing``. At test time a block masks all queries until its probability is below one
    half.

    Args:
        model: timm's name, with that of its weights after a dot.
        num_classes: ``N``.
        num_blocks: How many of its last blocks are run here.
        num_queries: ``Q``.
        weights: As ``TimmViT`` has it.
        num_upscales: How many times the resolution of the masks is doubled from a patch's.
        annealing: Where it begins and ends, as shares of the training.
        options: Further arguments of timm's constructor, such as ``drop_path_rate``.
        loss: Arguments of :class:`~mmseg_domino.models.heads.MaskSetLoss`.
        ignore_index: Label of pixels that belong to no mask.

    Shape:
        - Input: what ``TimmViT`` gives: a map ``(B, C, h, w)`` and tokens ``(B, P, C)``, if any.
        - Output: for each block and after the last, class logits ``(B, Q, N + 1)`` and mask logits
          ``(B, Q, H, W)`` with ``H = h * 2 ** num_upscales``.

    Raises:
        ValueError: If the model's blocks cannot be used so, or ``annealing`` is no interval.
    """

    def __init__(
        self,
        model: str,
        num_classes: int,
        num_blocks: int = 4,
        num_queries: int = 100,
        weights: str | None = "timm",
        num_upscales: int = 2,
        annealing: Sequence[float] = (1 / 6, 11 / 12),
        options: Mapping | None = None,
        loss: Mapping | None = None,
        ignore_index: int = 255,
    ) -> None:
        options = {"dynamic_img_size": True, **(options or {})}
        if not 0 <= annealing[0] < annealing[1] <= 1:
            raise ValueError(f"annealing must rise within [0, 1], got {tuple(annealing)}")
        vit = _Blocks(model, num_blocks, options)
        width = vit.embed_dims
        super().__init__(
            width, width, num_classes=num_classes, dropout_ratio=0, ignore_index=ignore_index,
            init_cfg=None,
        )  # fmt: skip
        del self.conv_seg, self.loss_decode
        self.model, self.weights, self.options = model, weights, options
        self.annealing = tuple(annealing)
        self.vit = vit
        self.query = nn.Embedding(num_queries, width)
        self.upscale = nn.Sequential(*(_Upscale(width) for _ in range(num_upscales)))
        self.mask_embed = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU(),
            nn.Linear(width, width),
        )  # fmt: skip
        self.class_embed = nn.Linear(width, num_classes + 1)
        self.loss_masks = MaskSetLoss(num_classes, **(loss or {}))
        self.register_buffer("mask_probability", torch.ones(num_blocks))
        # Its values on the host, where they decide what is computed; None if not known.
        self._probabilities: list[float] | None = [1.0] * num_blocks
        self.register_load_state_dict_post_hook(_forget_probabilities)

    def init_weights(self) -> None:
        """Load the weights of the blocks that ``weights`` names."""
        if self.weights is not None:
            state = load_vit(self.model, self.weights, self.options).state_dict()
            load_from_whole(self.vit, state)
        self._is_init = True

    def forward(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        prefix = inputs[-1] if inputs[-1].dim() == 3 else None
        patches = inputs[-1 if prefix is None else -2]
        grid = tuple(patches.shape[2:])
        parts = [self.query.weight.expand(len(patches), -1, -1), prefix, None]
        parts[2] = patches.flatten(2).transpose(1, 2)
        x = torch.cat([part for part in parts if part is not None], dim=1)
        classes, masks = [], []
        if self._probabilities is None:
            self._probabilities = self.mask_probability.tolist()
        for index, probability in zip(self.vit.blocks, self._probabilities, strict=True):
            mask = None
            if self.training or probability >= 0.5:
                for kept, new in zip((classes, masks), self._predict(x, grid), strict=True):
                    kept.append(new)
                mask = self._attention_mask(masks[-1], x, grid, probability)
            x = self.vit.step(index, x, grid, mask)
        for kept, new in zip((classes, masks), self._predict(x, grid), strict=True):
            kept.append(new)
        return classes, masks

    def _predict(self, x: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        x = self.vit.normalise(x)
        queries, patches = x[:, : self.query.num_embeddings], x[:, -grid[0] * grid[1] :]
        pixels = self.upscale(patches.transpose(1, 2).unflatten(2, grid))
        masks = torch.einsum("bqc,bchw->bqhw", self.mask_embed(queries), pixels)
        return self.class_embed(queries), masks

    @torch.no_grad()
    def _attention_mask(
        self, masks: Tensor, x: Tensor, grid: tuple[int, int], probability: float
    ) -> Tensor | None:
        """What may attend to what, ``(B, 1, tokens, tokens)``; ``None`` for all to all."""
        if probability <= 0:
            return None
        inside = F.interpolate(masks.float(), grid, mode="bilinear", align_corners=False) > 0
        inside = inside.flatten(2)
        if self.training and probability < 1:
            inside |= torch.rand(inside.shape[:2], device=x.device)[..., None] > probability
        allowed = x.new_ones(len(x), 1, x.shape[1], x.shape[1], dtype=torch.bool)
        allowed[:, 0, : self.query.num_embeddings, -grid[0] * grid[1] :] = inside
        return allowed

    def set_mask_probability(self, values: Sequence[float]) -> None:
        """For each block, the share of the queries that are masked while it trains, in [0, 1]."""
        if list(values) != self._probabilities:
            self.mask_probability.copy_(torch.tensor(values))
            self._probabilities = list(values)

    def _anneal(self) -> None:
        """Set the probabilities by how far the run is; without a run they stay as they are."""
        hub = MessageHub.get_current_instance()
        done, total = hub.get_info("iter"), hub.get_info("max_iters")
        if done is None or not total:
            return
        start, end = self.annealing
        blocks = len(self.mask_probability)
        place = (done / total - start) / (end - start) * blocks
        self.set_mask_probability([(1 - min(max(place - i, 0), 1)) ** 0.9 for i in range(blocks)])

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: list, train_cfg) -> dict:
        """Losses after each block, those before the last under ``d0.``, ``d1.``, ..."""
        self._anneal()
        targets = [
            class_masks(sample.gt_sem_seg.data[0], self.ignore_index)
            for sample in batch_data_samples
        ]
        classes, masks = self(inputs)
        losses = {}
        for i, (c, m) in enumerate(zip(classes, masks, strict=True)):
            stage = "" if i == len(classes) - 1 else f"d{i}."
            losses |= {stage + key: value for key, value in self.loss_masks(c, m, targets).items()}
        return losses

    def predict(self, inputs: Sequence[Tensor], batch_img_metas: list[dict], test_cfg) -> Tensor:
        """Scores ``(B, N, H, W)`` in the images' size: each query's class times its mask, summed.

        They are no logits: each is at least 0, and they need not sum to 1.
        """
        classes, masks = self(inputs)
        masks = self.predict_by_feat(masks[-1].float(), batch_img_metas)
        chances = classes[-1].float().softmax(-1)[..., :-1]
        return torch.einsum("bqn,bqhw->bnhw", chances, masks.sigmoid())
