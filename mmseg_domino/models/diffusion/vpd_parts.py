"""The pretrained parts of a VPD backbone: built by their architecture, filled from files later.

Shapes: ``N`` classes, ``K`` domains, ``D`` width of the UNet's cross-attention.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import Tensor, nn

from ...domain.prompts import PromptBank
from ...utils.options import complete_options
from ..layers.patches import load_from_whole
from .architecture import check_unet_config, resolve_architecture
from .class_embeddings import embed_classes_in_domains, find_class_embeddings, random_states
from .latent_encoder import LatentEncoder
from .text_towers import open_text_tower
from .weights import WeightSource, expand_path, open_vae, open_weights, strip

#: What two descriptions of one UNet must agree in, as its weights alone do not tell.
_TELLING = ("block_out_channels", "cross_attention_dim", "attention_head_dim", "layers_per_block")


def weight_options(weights: str | Mapping) -> dict:
    """``name`` and ``architecture`` of ``weights``, which may be the name alone."""
    if weights is None or isinstance(weights, str | Path):
        return {"name": weights, "architecture": None}
    options = complete_options(weights, {"name": None, "architecture": None}, "weights")
    if options["name"] is None:
        raise ValueError(
            f"`weights` needs `name`: a folder, a file, a hub name or 'random'; got {weights}"
        )
    return options


def resolve_weights(weights: str | Mapping, vae: str | None = None) -> dict:
    """The same ``weights`` with their architecture in full, so that no file is needed to build."""
    parts = VPDParts(**weight_options(weights), vae=vae, classes={})
    return {"name": parts.name, "architecture": parts.architecture}


class VPDParts:
    """UNet, autoencoder and class embeddings of a latent diffusion model."""

    def __init__(
        self,
        name: str | None,
        architecture: str | Mapping | None,
        vae: str | None,
        classes: Mapping,
    ) -> None:
        self.name, self.vae, self.classes = name, vae, classes
        self.are_random = name in (None, "random")
        self._given, self._opened = architecture, None
        if self.are_random or architecture is None:
            self._opened = open_weights(name, architecture)
            self.architecture = dict(self._opened.architecture)
            if vae is not None:
                self.architecture["vae"] = dict(open_vae(vae).config)
            elif self.architecture["vae"] is None:
                self._opened.part("vae")  # says what is missing
        else:
            self.architecture = resolve_architecture(architecture)
            check_unet_config(self.architecture["unet"], "the architecture")
            if vae is not None and "_class_name" not in self.architecture["vae"]:
                # Not resolved yet: it is that of the weights' own autoencoder.
                self.architecture["vae"] = dict(open_vae(vae).config)

    def _source(self) -> WeightSource:
        if self._opened is None:
            self._opened = open_weights(self.name, self._given)
            self._check_same(self._opened.architecture["unet"])
        return self._opened

    def _check_same(self, found: Mapping) -> None:
        wrong = {
            key: (found.get(key), self.architecture["unet"].get(key))
            for key in _TELLING
            if _plain(found.get(key)) != _plain(self.architecture["unet"].get(key))
        }
        if wrong:
            raise ValueError(
                f"the weights {self.name} are of another architecture than `weights.architecture` "
                f"says (found, expected): {wrong}. Leave it away, or name the other weights."
            )

    def build_unet(self) -> UNet2DConditionModel:
        """The UNet; its values are undefined unless the weights are random."""
        if self.are_random:
            return self._source().unet()
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config(self.architecture["unet"])
        return strip(unet).to_empty(device="cpu")

    def build_vae(self) -> AutoencoderKL | AutoencoderTiny:
        """The autoencoder without its decoder; values as for the UNet."""
        if self.are_random:
            return self._source().vae() if self.vae is None else open_vae(self.vae)
        config = self.architecture["vae"]
        kind = AutoencoderTiny if config.get("_class_name") == "AutoencoderTiny" else AutoencoderKL
        with torch.device("meta"):
            vae = kind.from_config(config)
        return strip(vae).to_empty(device="cpu")

    def read_unet(self, unet: nn.Module) -> None:
        """Read the UNet's weights, in place."""
        load_from_whole(unet, self._source().unet().state_dict())

    def read_vae(self, encoder: LatentEncoder) -> None:
        """Read the autoencoder's weights, in place."""
        vae = self._source().vae() if self.vae is None else open_vae(self.vae)
        load_from_whole(encoder.encoder, vae.encoder.state_dict())
        if encoder.quant_conv is not None:
            load_from_whole(encoder.quant_conv, vae.quant_conv.state_dict())

    def start_embeddings(self) -> tuple[Tensor, bool]:
        """``(N, D)`` class embeddings to build with, and whether they are there already."""
        classes, width = self.classes, self.architecture["unet"]["cross_attention_dim"]
        path, names = classes["embeddings"], classes["names"]
        there = path is not None and Path(expand_path(str(path))).is_file()
        is_free = path is None and classes["text_encoder"] is None and self.are_random
        count = len(names) if names is not None else classes["count"]
        if there or is_free or count is None or (path is None and names is None):
            return self.class_embeddings(), True
        if classes["count"] not in (None, count):
            raise ValueError(f"`classes` has {count} names and count={classes['count']}")
        return torch.zeros(count, width), False

    def class_embeddings(self) -> Tensor:
        """``(N, D)``, read or computed."""
        source = self._source() if self.classes["embeddings"] is None else None
        width = self.architecture["unet"]["cross_attention_dim"]
        return find_class_embeddings(source, str(self.name), width, self.classes)

    def classes_in_domains(self, bank: PromptBank) -> Tensor:
        """``(K, N, D)``: states of '{class} in {domain}' for the domains of a bank."""
        names = self.classes["names"]
        if names is None:
            raise ValueError("a displacement a class needs the classes' names")
        words = {d.key: [" ".join(parts) for parts in d.synonyms] for d in bank.domains}
        encoder = self.classes["text_encoder"]
        if self.are_random and encoder is None:
            width = self.architecture["unet"]["cross_attention_dim"]
            return random_states(len(words), len(names), width)
        source = None if encoder is not None else self._source()
        tower = open_text_tower(encoder, source)
        return embed_classes_in_domains(tower, names, words, self.classes["cache"])

    def close(self) -> None:
        """Let go of the files' tensors."""
        self._opened = None


def _plain(value: object) -> object:
    return list(value) if isinstance(value, list | tuple) else value
