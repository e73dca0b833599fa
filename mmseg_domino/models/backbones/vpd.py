"""Stable Diffusion's UNet as a backbone (VPD, ICCV 2023), conditioned on each image's domain.

Shapes: ``B`` batch, ``M`` images that the batch holds windows of, ``N`` classes, ``D`` context
width, ``C`` channels of a feature level, ``H W`` the image's size.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ...utils.options import complete_options
from ..adapters.frozen_state import keep_out_frozen
from ..adapters.tuning import apply_tuning, merge_tuned, starting_weights, train_tuned
from ..diffusion.class_embeddings import CLASS_OPTIONS
from ..diffusion.fast_layers import use_fast_layers
from ..diffusion.latent_encoder import LatentEncoder
from ..diffusion.unet_features import place_processors, unet_features
from ..diffusion.vpd_parts import VPDParts, weight_options
from ..layers.class_context import ClassContext
from ..layers.domain_inputs import DomainInputs
from ..layers.domain_norms import DomainNorms, norm_options
from .domain_options import choose_rows, read_domain_text
from .vpd_options import (
    ATTENTION_OPTIONS,
    EXECUTION_OPTIONS,
    STRIDES,
    VAE_OPTIONS,
    check_strides,
    check_timestep,
    choose_centre,
    choose_injections,
    classwise_bank,
)

#: The projections of every attention layer, which LoRA adapts unless told otherwise.
_PROJECTIONS = r"\.attn[12]\.(to_q|to_k|to_v|to_out\.0)$"


@MODELS.register_module()
class DominoVPD(BaseModule):
    """VPD's features, with the domain in the UNet's cross-attention and normalisation layers.

    The image is encoded to a latent without noise, the UNet runs once at ``timestep`` over the
    class tokens, and four levels of its decoder come out, finest first, with strides 8, 16, 32 and
    64. To those named by ``attention.maps``, the averaged cross-attention maps of their resolution
    are appended as ``N`` channels.

    Inputs are RGB in [-1, 1]: ``mean = std = 127.5`` and ``bgr_to_rgb=True`` in the data
    preprocessor. Sides that are no multiples of 64 are padded by repeating the border, and the
    features cut back to ``ceil(H / stride)``.

    Weights and class embeddings are read by ``init_weights``, as training calls it, or before the
    first forward pass if no checkpoint was loaded. To build a model whose weights come from a
    checkpoint, no file is needed where ``weights.architecture`` and ``classes`` say its shape.

    Args:
        weights: A diffusers folder, a hub name, an original single file (``.safetensors`` or
            ``.ckpt``), or ``"random"``; or a dict with ``name``, one of these, and
            ``architecture``: ``"sd15"``, ``"sd21"``, or a dict with diffusers' or LDM's arguments
            of ``unet`` and ``vae``. Needed for random weights, and for single files of an
            unpublished size.
        classes: ``N`` class names, or a dict of
            :data:`~mmseg_domino.models.diffusion.class_embeddings.CLASS_OPTIONS`.
        domain_channels: Width of the embeddings that ``norms`` take.
        norms: Which of the UNet's norm layers are domain-adaptive; see :class:`DominoBackbone`.
            None for none.
        injection: How the domain enters the norms and the context: ``"subtract"``, ``"add"``,
            ``"none"`` (nowhere: the plain backbone), or ``"concat"``, which the context only knows.
        attention: :data:`~.vpd_options.ATTENTION_OPTIONS`.
        centre: Domain at which the domain changes nothing; see
            :func:`~.domain_options.check_centre`.
        tune: Which of the UNet's own parameters are trained; one of
            :data:`~mmseg_domino.models.adapters.tuning.TUNING`. The text adapter and what the
            domain enters by are trained in each case, the VAE in none.
        adapter: Options of the adapter that ``tune`` names; see :class:`DominoBackbone`. LoRA's
            ``targets`` are the attention's projections by default.
        save_frozen: Whether state dicts hold frozen weights. If not, they are restored from
            ``weights`` and ``vae``.
        vae: :data:`~.vpd_options.VAE_OPTIONS`.
        timestep: Of the diffusion process, for every image. VPD: 1.
        execution: :data:`~.vpd_options.EXECUTION_OPTIONS`.
        init_cfg: MMEngine's initialisation config.

    Shape:
        - ``x``: ``(B, 3, H, W)``; ``domain``: ``(B, D)``, or by space.
        - Output: four of ``(B, C, ceil(H / stride), ceil(W / stride))``; see :attr:`out_channels`.
          With Rein's linked queries, these ``(m, Q)`` last.

    Raises:
        ValueError: For unknown options or such that would have no effect, or classes, embeddings
            and UNet that do not fit.
        FileNotFoundError: If weights are missing; says how to get them.
    """

    accepts_domain = True
    #: Takes several windows of each image with one embedding an image.
    accepts_windows = True
    #: Pixels a latent.
    latent_stride = 8

    def __init__(
        self,
        weights: str | Mapping,
        classes: Sequence[str] | Mapping | None = None,
        domain_channels: int | None = None,
        norms: str | Mapping | None = None,
        injection: str = "subtract",
        attention: Mapping | None = None,
        centre: str | Mapping | None = None,
        tune: str = "full",
        adapter: Mapping | None = None,
        save_frozen: bool = True,
        vae: Mapping | None = None,
        timestep: int = 1,
        execution: Mapping | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        attention = complete_options(attention, ATTENTION_OPTIONS, "attention")
        vae = complete_options(vae, VAE_OPTIONS, "vae")
        execution = complete_options(execution, EXECUTION_OPTIONS, "execution")
        if not isinstance(classes, Mapping | None):
            classes = {"names": tuple(classes)}
        classes = complete_options(classes, CLASS_OPTIONS, "classes")
        self.attention_maps = check_strides(attention["maps"])
        self.timestep = check_timestep(timestep)
        norms = norm_options(norms)
        self.injections = choose_injections(injection, norms, attention)

        self._parts = VPDParts(**weight_options(weights), vae=vae["weights"], classes=classes)
        self.unet = self._parts.build_unet()
        compiler = _compiler(execution["compile"])
        options = {name: vae[name] for name in ("scale", "batch", "dtype", "cache")}
        autoencoder = self._parts.build_vae()
        self.vae = LatentEncoder(autoencoder, vae["latent"], compiler=compiler, **options)
        self.centre = choose_centre(centre, self.injections, norms, attention)
        self._bank = classwise_bank(attention)
        embeddings, embedded = self._parts.start_embeddings()
        self.context = self._build_context(attention, embeddings)
        place_processors(self.unet, self.context.num_classes)
        self.tune = tune
        self.reins = apply_tuning(self.unet, tune, adapter, _PROJECTIONS)
        self.links_queries = hasattr(self.reins, "merge")
        self.domain = self._build_norms(norms, domain_channels)
        use_fast_layers(self.unet)
        _watch_loading(self.unet, self._parts.are_random)
        _watch_loading(self.vae, self._parts.are_random)
        _watch_loading(self.context, embedded and self._bank is None)
        keep_out_frozen(self, save_frozen)
        self.checkpointing = execution["checkpointing"]
        self.channels_last = execution["channels_last"]
        if self.channels_last:
            self.to(memory_format=torch.channels_last)
        self._features = unet_features if compiler is None else compiler(unet_features)

    def _build_context(self, attention: Mapping, embeddings: Tensor) -> ClassContext:
        injection, gate = self.injections["attention"], attention["gate"]
        signed = injection in ("add", "subtract")
        return ClassContext(
            embeddings,
            injection=injection,
            scale=attention["scale"],
            gate=signed if gate is None else gate,
            space=attention["space"],
            domains=None if self._bank is None else len(self._bank),
            centred=self.centre is not None and injection != "none",
        )

    def _build_norms(self, norms: Mapping | None, width: int | None) -> DomainNorms | None:
        if self.injections["norms"] == "none":
            return None
        if width is None:
            raise ValueError("`norms` needs domain_channels, the width of the embeddings they take")
        options = {**norms, "injection": self.injections["norms"]}
        return DomainNorms(self.unet, width, centred=self.centre is not None, **options)

    @property
    def map_channels(self) -> tuple[int, ...]:
        """Attention maps of the four levels, their last channels."""
        return tuple(self.context.num_classes * (s in self.attention_maps) for s in STRIDES)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the four levels, attention maps included."""
        features = self.unet.config.block_out_channels
        return tuple(c + m for c, m in zip(features, self.map_channels, strict=True))

    def init_weights(self) -> None:
        """Read the weights, the class embeddings and what the domain is measured from."""
        super().init_weights()
        self.read_weights()
        with starting_weights(self.unet, self.tune):
            pass  # random weights are read from nowhere
        if self.centre is not None:
            self._read_centre()

    def read_weights(self) -> None:
        """Read what was neither made at random nor read nor loaded: weights, class embeddings."""
        if not self.unet.has_weights:
            with starting_weights(self.unet, self.tune):
                self._parts.read_unet(self.unet)
        if not self.vae.has_weights:
            self._parts.read_vae(self.vae)
            self.vae.forget_weights()
        if not self.context.has_weights:
            self.context.class_embeddings.copy_(self._parts.class_embeddings())
            if self._bank is not None:
                self.context.table.set(self._parts.classes_in_domains(self._bank))
        for part in (self.unet, self.vae, self.context):
            part.has_weights = True
        self._parts.close()

    def _read_centre(self) -> None:
        domain = self.centre["domain"]
        needed = [part for part in (self.domain, self.context) if part is not None]
        if self._bank is not None:
            table = self.context.table()
            self.context.centre.set(choose_rows(table, self._bank.keys, domain))
            needed.remove(self.context)
        for part in needed:
            if part.centre is not None:
                text = read_domain_text(self.centre)
                part.centre.set(choose_rows(text.table(part.space), text.keys, domain))

    def merge_adapters(self) -> None:
        """Add trained LoRA or SoMA adapters to the UNet's weights: the plain one remains.

        Raises:
            ValueError: For Rein.
        """
        merge_tuned(self.unet, self.tune)
        self.tune = "frozen"

    def train(self, mode: bool = True):
        """A UNet that is not trained whole stays in evaluation mode."""
        super().train(mode)
        train_tuned(self.unet, self.tune, mode)
        return self

    def encode(self, x: Tensor) -> Tensor:
        """Latents ``(B, 4, H / 8, W / 8)`` of images whose sides are multiples of 8.

        They are float32 and have no graph.
        """
        self.read_weights()
        return self.vae(self._laid_out(x))

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    def forward_latent(
        self, latent: Tensor, domain: DomainInputs, image_hw: tuple[int, int], windows: int = 1
    ) -> tuple[Tensor, ...]:
        """As :meth:`forward`, of latents ``(B, 4, h, w)``.

        The features are cut to those of an image of ``image_hw``, its height and width in pixels.
        """
        # Not divmod, which exported graphs do not know.
        rows = latent.shape[0] // windows
        if latent.shape[0] % windows:
            raise ValueError(f"a batch of {len(latent)} cannot hold {windows} windows an image")
        self.read_weights()
        # That of half-precision weights, which a UNet for inference may have been given.
        dtype = self.unet.conv_in.weight.dtype
        context = self.context(domain, rows).to(dtype)
        latent = self._laid_out(_pad(latent, 8).to(dtype))
        levels = [level for level, s in enumerate(STRIDES) if s in self.attention_maps]

        def run(latent: Tensor) -> tuple[list[Tensor], list[Tensor | None]]:
            return self._features(
                self.unet, latent, self.timestep, context, levels, self.checkpointing
            )

        if self.domain is None:
            features, maps = run(latent)
        else:
            features, maps = self.domain.run(run, latent, domain, windows)
        levels = [
            self._finish(feature, attention, stride, image_hw)
            for feature, attention, stride in zip(features, maps, STRIDES, strict=True)
        ]
        return (*levels, self.reins.queries()) if self.links_queries else tuple(levels)

    @staticmethod
    def _finish(
        feature: Tensor, attention: Tensor | None, stride: int, image_hw: tuple[int, int]
    ) -> Tensor:
        """Append the level's map and cut the padding off."""
        if attention is not None:
            attention = attention.transpose(1, 2).unflatten(2, feature.shape[-2:])
            feature = torch.cat([feature, attention.to(feature.dtype)], dim=1)
        rows, columns = (-(-length // stride) for length in image_hw)
        return feature[..., :rows, :columns]

    def forward(
        self, x: Tensor, domain: DomainInputs = None, windows: int = 1
    ) -> tuple[Tensor, ...]:
        """Features of images.

        Args:
            x: ``(B, 3, H, W)``.
            domain: ``(M, D)``, or by space; ``B = M * windows``. Not used with
                ``injection="none"``.
            windows: How many windows of each image the batch holds: a first one of all ``M``
                images, then a second one of all, and so on. Class tokens are then made, and
                projected to keys and values, once an image instead of once a window.
        """
        height, width = x.shape[-2:]
        return self.forward_latent(self.encode(_pad(x, 64)), domain, (height, width), windows)


def _watch_loading(part: nn.Module, has_weights: bool) -> None:
    """Let a part know whether its weights are there, so that none are read over loaded ones."""
    part.has_weights = has_weights
    part._register_load_state_dict_pre_hook(_note_weights, with_module=True)


def _note_weights(part: nn.Module, state: dict, prefix: str, *_: object) -> None:
    names = list(part.state_dict(keep_vars=True))
    telling = "class_embeddings" if "class_embeddings" in names else names[0]
    part.has_weights = part.has_weights or prefix + telling in state


def _compiler(given: bool | Mapping) -> Callable | None:
    if not given:
        return None
    return partial(torch.compile, **(given if isinstance(given, Mapping) else {}))


def _pad(x: Tensor, multiple: int) -> Tensor:
    """Repeat the lower and right border until the sides are multiples of a number."""
    bottom, right = (-length % multiple for length in x.shape[-2:])
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x
