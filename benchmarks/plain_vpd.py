"""VPD's backbone computed the way the original does it: the yardstick of ``backbone.py``.

For measuring only. Attention is explicit in every layer, in float32; every layer averages its
probabilities over the heads, those of at most 32 x 32 positions are stored in lists, self- and
cross-attention alike, and the class tokens' are averaged at the end. Keys and values of the class
tokens are computed for each image of the batch, and the UNet runs to its end, although only four
inner features are used.

Shapes: ``B`` batch, ``L`` positions, ``N`` classes, ``D`` context width.
"""

from collections import defaultdict
from collections.abc import Mapping

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

#: Modules whose outputs are the features, finest first.
FEATURES = ("up_blocks.3", "up_blocks.2.attentions.1", "up_blocks.1.attentions.1",
            "up_blocks.0.resnets.1")  # fmt: skip
STRIDES = (8, 16, 32, 64)


class StoredAttention:
    """A diffusers attention processor that computes probabilities and stores them.

    Args:
        store: Lists of ``(B, L, tokens)``, by place and kind; None stores nothing.
        key: Where to put them.
        max_tokens: Maps of more positions are computed and dropped.
    """

    def __init__(self, store: dict[str, list[Tensor]] | None, key: str, max_tokens: int) -> None:
        self.store, self.key, self.max_tokens = store, key, max_tokens

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        residual, shape = hidden_states, hidden_states.shape
        if attn.group_norm is not None:  # the autoencoder's layer takes an image
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(context))
        value = attn.head_to_batch_dim(attn.to_v(context))
        scores = torch.einsum("bid,bjd->bij", query, key) * attn.scale
        probabilities = scores.softmax(dim=-1)
        if self.store is not None:
            mean = probabilities.unflatten(0, (-1, attn.heads)).mean(dim=1)
            if mean.shape[1] <= self.max_tokens:
                self.store[self.key].append(mean)
        out = torch.einsum("bij,bjd->bid", probabilities, value)
        out = attn.to_out[1](attn.to_out[0](attn.batch_to_head_dim(out)))
        if attn.group_norm is not None:
            out = out.transpose(1, 2).reshape(shape)
        return out + residual if attn.residual_connection else out


class PlainVPD(nn.Module):
    """Four features of Stable Diffusion's UNet, with attention maps on strides 16 and 32.

    Args:
        unet: Arguments of ``UNet2DConditionModel``.
        vae: Arguments of ``AutoencoderKL``.
        class_embeddings: ``(N, D)``.
        max_tokens: Largest number of positions of a stored map.
        channels: Of the features, for the segmentor's benefit; not read here.

    Shape:
        - ``x``: ``(B, 3, H, W)``, sides multiples of 64; ``domain``: ``(B, D)``, subtracted from
          the class tokens, or None.
        - Output: four of ``(B, C, H / stride, W / stride)``, finest first.
    """

    def __init__(
        self,
        unet: Mapping,
        vae: Mapping,
        class_embeddings: Tensor,
        max_tokens: int = 32 * 32,
    ) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(**unet)
        self.vae = AutoencoderKL(**vae)
        self.vae.decoder = self.vae.post_quant_conv = None
        self.vae.requires_grad_(False)
        width = class_embeddings.shape[1]
        self.register_buffer("class_embeddings", class_embeddings.clone())
        self.gamma = nn.Parameter(torch.full((width,), 1e-4))
        self.text_adapter = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )
        self.domain: Tensor | None = None  # for callers that pass images only
        self._store: dict[str, list[Tensor]] = defaultdict(list)
        self.unet.set_attn_processor(
            {
                name: StoredAttention(self._store, self._key(name), max_tokens)
                for name in self.unet.attn_processors
            }
        )
        self.vae.set_attn_processor(StoredAttention(None, "", 0))
        self._features: dict[str, Tensor] = {}
        for name in FEATURES:
            self.unet.get_submodule(name).register_forward_hook(self._keep(name))

    @staticmethod
    def _key(processor: str) -> str:
        place = processor.split("_")[0]
        return f"{place}_{'cross' if '.attn2.' in processor else 'self'}"

    def _keep(self, name: str):
        def hook(module: nn.Module, inputs: tuple, output) -> None:
            self._features[name] = output if isinstance(output, Tensor) else output[0]

        return hook

    def encode(self, x: Tensor) -> Tensor:
        """Latents ``(B, 4, H / 8, W / 8)``."""
        with torch.no_grad():
            return self.vae.encode(x).latent_dist.mode()

    def forward_latent(self, latent: Tensor, domain: Tensor | None = None) -> tuple[Tensor, ...]:
        """Features of latents."""
        tokens = self.class_embeddings
        context = (tokens + self.gamma * self.text_adapter(tokens)).expand(len(latent), -1, -1)
        if domain is not None:
            context = context - domain[:, None]
        self._store.clear()
        time = torch.ones(len(latent), dtype=torch.long, device=latent.device)
        self.unet(latent, time, encoder_hidden_states=context)
        maps = self._average(latent.shape[-2] * latent.shape[-1])
        features = [self._features.pop(name) for name in FEATURES]
        for level in maps:
            shape = features[level].shape[-2:]
            image = maps[level].transpose(1, 2).unflatten(2, shape)
            features[level] = torch.cat([features[level], image], dim=1)
        return tuple(features)

    def _average(self, tokens: int) -> dict[int, Tensor]:
        """The mean map of levels 1 and 2, ``(B, L, N)``."""
        stored = self._store["down_cross"] + self._store["up_cross"]
        groups = {
            level: [m for m in stored if m.shape[1] == tokens // 4**level] for level in (1, 2)
        }
        self._store.clear()
        return {level: torch.stack(maps).mean(dim=0) for level, maps in groups.items() if maps}

    def forward(self, x: Tensor, domain: Tensor | None = None) -> tuple[Tensor, ...]:
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % 64, 0, -height % 64), mode="replicate")
        return self.forward_latent(self.encode(x), self.domain if domain is None else domain)
