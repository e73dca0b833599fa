"""The image tower of an open_clip model as a backbone.

Shapes: ``B`` batch, ``C`` channels, ``H W`` the image's size, ``h w`` the grid of patches.
"""

from collections.abc import Sequence

import open_clip
import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...domain.encoder_weights import RANDOM, build_clip, load_clip
from ..layers.patches import choose_blocks, fit_to_patches, load_from_whole, resample_positions


@MODELS.register_module()
class OpenClipViT(BaseModule):
    """CLIP's vision transformer, with the outputs of some of its blocks, as ``TimmViT`` has them.

    Parameters have open_clip's own names (``visual.transformer.resblocks...``). The towers that
    open_clip takes from timm (SigLIP, EVA-02) are ``TimmViT``'s.

    Args:
        model: As in ``DomainEncoder``: open_clip's name, such as ``"ViT-L-14"``, a folder in
            open_clip's format, ``hf-hub:ORG/REPO`` or a config file.
        weights: open_clip's tag (``"openai"``), or a checkpoint of a whole CLIP model in
            open_clip's or OpenAI's layout; of no meaning where the model brings its own. ``None``
            leaves them random. They are read when MMEngine initialises the model for training, not
            when a trained checkpoint is loaded.
        out_indices: See ``TimmViT``.
        with_cp: See ``TimmViT``.
        init_cfg: MMEngine's initialisation config, in place of ``weights``.

    Shape:
        - Input: ``(B, 3, H, W)``, normalised as CLIP was trained (see the ready config).
        - Output: a tuple of ``(B, C, h, w)``.

    Raises:
        ValueError: If the model or its weights are unknown, or its image tower is no vision
            transformer of open_clip's own, or a block does not exist.
        FileNotFoundError: If the weights are missing and cannot be fetched; says how to get them.
    """

    def __init__(
        self,
        model: str = "ViT-L-14",
        weights: str | None = "openai",
        out_indices: Sequence[int] | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if init_cfg is not None and weights is not None:
            raise ValueError(f"give `weights` ({weights!r}) or `init_cfg`, not both")
        self.name, self.weights = model, weights
        visual = build_clip(model, weights or RANDOM).visual
        if not isinstance(visual, open_clip.transformer.VisionTransformer):
            raise ValueError(
                f"the image tower of {model} is a {type(visual).__name__}, no vision transformer "
                "of open_clip's own; those from timm are built with TimmViT"
            )
        self.out_indices = choose_blocks(out_indices, len(visual.transformer.resblocks), model)
        _leave_out_the_rest(visual, self.out_indices[-1])
        visual.set_grad_checkpointing(with_cp)
        self.patch_size = visual.patch_size[0]
        self.embed_dims = visual.conv1.out_channels
        self.visual = visual

    def init_weights(self) -> None:
        """Load the weights that ``weights`` names."""
        if self.weights is None:
            super().init_weights()
            return
        state = load_clip(self.name, self.weights)[0].visual.state_dict()
        load_from_whole(self.visual, state)
        self._is_init = True

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        visual = self.visual
        x = visual.conv1(fit_to_patches(x, self.patch_size))
        grid = tuple(x.shape[-2:])
        x = x.flatten(2).transpose(1, 2)  # (B, h * w, C)
        first = visual.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        positions = resample_positions(visual.positional_embedding, grid, antialias=True)
        x = torch.cat([first, x], dim=1) + positions.to(x.dtype)
        x = visual.ln_pre(visual.patch_dropout(x))
        _, features = visual.transformer.forward_intermediates(x, indices=list(self.out_indices))
        return tuple(f[:, 1:].transpose(1, 2).unflatten(2, grid) for f in features)


def _leave_out_the_rest(visual: nn.Module, last: int) -> None:
    visual.transformer.resblocks = visual.transformer.resblocks[: last + 1]
    visual.ln_post = nn.Identity()
    visual.attn_pool = visual.proj = None
    if hasattr(visual, "attn_pool_contrastive"):
        visual.attn_pool_contrastive = None
