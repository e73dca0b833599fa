"""Pipeline transforms that put a domain embedding on each sample.

Shapes: ``D`` width of the embedding, ``E`` width of the joint space, ``K`` domains.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import MODELS, TRANSFORMS
from torch import Tensor

from ...domain.encoder import DomainEncoder
from ...domain.sources import SPACE_FIELDS, DomainText, build_sources, perturb_embedding
from ...domain.store import EmbeddingStore, MissingEmbeddingError, load_prototypes
from ..mixture import SampleIndex

# `domain` knows no registry, so whoever builds an encoder from a config registers it here and in
# models/data_preprocessor.py.
MODELS.register_module(module=DomainEncoder, force=True)

#: What a sample must not have gone through before it is encoded.
_CHANGED_BY = ("scale", "flip", "pad_shape", "rotate")


@lru_cache(maxsize=16)
def _open_store(path: str) -> EmbeddingStore:
    """One open store a process, however many pipelines name it."""
    return EmbeddingStore.open(path)


@lru_cache(maxsize=2)
def _build_encoder(config: str) -> torch.nn.Module:
    """One encoder a process: the pipelines of five test sets share a CLIP model."""
    return MODELS.build(json.loads(config))


def _describe_encoder(encoder: Mapping | None) -> str:
    return json.dumps({"type": "DomainEncoder", **(encoder or {})}, default=str)


def encode_image(encoder: Mapping | None, image: np.ndarray) -> Tensor:
    """CLIP's embedding ``(E,)`` of an RGB image ``(H, W, 3)`` uint8."""
    built = _build_encoder(_describe_encoder(encoder))
    return built.encode_pixels(built.prepare(image)[None])[0].cpu()


class _AttachDomain(BaseTransform):
    """What the two transforms share: making, disturbing and attaching an embedding."""

    is_loading = True

    def __init__(
        self,
        source: str = "soft",
        space: str | Sequence[str] = "context",
        temperature: float | None = None,
        assign: str | None = None,
        prototypes: str | Mapping[str, str] | None = None,
        noise: float = 0.0,
        mix: float = 0.0,
        drop: float = 0.0,
        force: str | None = None,
    ) -> None:
        for name, value, upper in (("noise", noise, np.inf), ("mix", mix, 1), ("drop", drop, 1)):
            if not 0 <= value <= upper:
                raise ValueError(f"{name} must be in [0, {upper}], got {value}")
        self.noise, self.mix, self.drop, self.force = noise, mix, drop, force
        table = load_prototypes(prototypes)
        self.sources = build_sources(source, space, temperature, assign, table)

    def _given(self, results: dict, text: DomainText) -> Tensor | None:
        """What stands in for the image's own embedding ``(E,)``: see ``DrawWeather``."""
        given = results.get("domain_image")
        if self.force is None and not isinstance(given, str):
            return None if given is None else torch.as_tensor(given)
        key, what, remedy = self.force, f"force={self.force!r}", ""
        if key is None:
            key, what = results["domain"], f"the weather {results['domain']!r}"
            remedy = (
                ": choose `domains` of DrawWeather among them, or another bank or embedding='clip'"
            )
        if key not in text.keys:
            raise ValueError(
                f"{what} is no domain of the prompt bank, which has {', '.join(text.keys)}{remedy}"
            )
        return text.joint[text.keys.index(key)]

    def _attach(self, results: dict, image: Tensor, text: DomainText) -> dict:
        disturbed = self.noise or self.mix or self.drop
        seed = _disturbance_seed(results.get("sample_idx")) if disturbed else None
        for source in self.sources:
            embedding, scores = source(image[None], text, [results.get("domain")])
            embedding = embedding[0]
            if seed is not None:
                rng, table = np.random.RandomState(seed), source.table(text)
                embedding = perturb_embedding(
                    embedding, table, self.noise, self.mix, self.drop, rng
                )
            one = len(self.sources) == 1
            field = "domain_embedding" if one else SPACE_FIELDS[source.space]
            results[field] = embedding.numpy().astype(np.float32)
            if one:
                results["domain_space"] = source.space
        results["domain_scores"] = scores[0].numpy().astype(np.float32)
        results["domain_names"] = text.keys
        return results

    def _describe(self) -> str:
        first, spaces = self.sources[0], [source.space for source in self.sources]
        return (
            f"source={first.name!r}, space={spaces}, temperature={first.temperature}, "
            f"assign={first.assign}, noise={self.noise}, mix={self.mix}, drop={self.drop}"
        )


def _disturbance_seed(index: object) -> int:
    """Where a sample's noise begins.

    With ``ResumableInfiniteSampler`` it is a function of seed and draw of its own, so that crops
    and colours are the same with noise and without; else from the state that loaders' workers seed.
    """
    if isinstance(index, SampleIndex):
        return int(np.random.SeedSequence((index.seed, index.draw, 1)).generate_state(1)[0])
    return np.random.randint(2**31)


@TRANSFORMS.register_module()
class LoadDomainEmbedding(_AttachDomain):
    """Attach the domain embedding of an image from an embedding store.

    Required keys: ``img_path``; ``domain`` for the oracle. Added keys: ``domain_embedding``
    float32 ``(D,)`` and ``domain_space``, or ``domain_joint`` and ``domain_context``;
    ``domain_scores`` float32 ``(K,)`` and ``domain_names``, the ``K`` keys.

    Args:
        store: The store's path (``domino domains extract`` makes it).
        root: The data root, if images should be looked up by their exact path below it; ``None``
            to find them by the longest ending that is in the store.
        missing: ``'error'``, or ``'leave'`` to leave an image that is not in the store, or all if
            there is no store, to ``DominoDataPreProcessor(domain_encoder=...)``.
        encoder: If given, arguments of the ``DomainEncoder`` that the store must have been made
            by: model, weights, precision and prompt bank are compared.
        source: What the embedding is made of; one of ``mmseg_domino.domain.SOURCES`` (soft).
        space: ``'context'`` for cross-attention, ``'joint'`` (CLIP's common space) for norms, or
            both, of which each part of the model takes the one that it names.
        temperature: Of the scores; ``None`` for CLIP's own.
        assign: How ``residual``, ``learned`` and ``random`` choose the domain: ``'argmax'``,
            ``'soft'`` or ``'oracle'``; ``None`` for each one's usual.
        prototypes: For ``prototype``: a store of examples, or a name and store for each of several.
        noise: Relative length of Gaussian noise (for training only, as are the next two).
        mix: Largest share of another domain mixed in, in [0, 1].
        drop: Probability of the null embedding, in [0, 1].
        force: Domain that every image is taken for, whatever it shows: its text stands in for the
            image's embedding. In a test it tells what the embedding is worth.

    Raises:
        MissingEmbeddingError: If the store lacks the image (and ``missing='error'``).
        ValueError: If the arguments make no sense together, or the store is damaged or
            another encoder's.
    """

    def __init__(
        self,
        store: str,
        root: str | None = None,
        missing: str = "error",
        encoder: Mapping | None = None,
        **embedding,
    ) -> None:
        super().__init__(**embedding)
        if missing not in ("error", "leave"):
            raise ValueError(f"missing must be 'error' or 'leave', got {missing!r}")
        self.store, self.root, self.missing = str(store), root, missing
        self.encoder = encoder
        self._checked = False
        if encoder is not None and Path(self.store).is_file():
            self._check(_open_store(self.store))  # once, and not in every loading worker

    def _check(self, store: EmbeddingStore) -> None:
        store.check_encoder(self.encoder)
        self._checked = True

    def transform(self, results: dict) -> dict:
        """Attach the embedding; see the class."""
        if self.missing == "leave" and not Path(self.store).is_file():
            return results  # deployed where the training machine's store is not
        store = _open_store(self.store)
        if self.encoder is not None and not self._checked:
            self._check(store)
        given = self._given(results, store.text)
        if given is not None:
            return self._attach(results, given, store.text)
        try:
            row = self._find(store, results.get("img_path"))
        except MissingEmbeddingError:
            if self.missing == "leave":
                return results
            raise
        return self._attach(results, store.image(row), store.text)

    def _find(self, store: EmbeddingStore, path: str | None) -> int:
        if not path:
            raise MissingEmbeddingError(
                "LoadDomainEmbedding finds an image by its img_path and the sample has none (an "
                "image given as an array?). Use EncodeDomain, or missing='leave' with "
                "DominoDataPreProcessor(domain_encoder=...)."
            )
        return store.find(path, self.root)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(store={self.store!r}, {self._describe()})"


@TRANSFORMS.register_module()
class EncodeDomain(_AttachDomain):
    """Attach the domain embedding of an image by running CLIP on it.

    Comes right after the image is loaded, since a crop or a changed colour is another image. Its
    result equals a store's. The encoder is built in each worker process when first used; for
    training, a store costs nothing a step and is the better choice.

    Required keys: ``img`` (BGR uint8, as mmcv loads it); ``domain`` for the oracle. Added keys: see
    :class:`LoadDomainEmbedding`.

    Args:
        encoder: Arguments of ``DomainEncoder``; ``type`` may name another registered encoder.
        color_type: ``'bgr'`` or ``'rgb'``: the order of the loaded image's channels.
        **embedding: From ``source`` on as for :class:`LoadDomainEmbedding`.

    Raises:
        ValueError: If the image was changed before, or is not uint8 with three channels.
    """

    def __init__(
        self,
        encoder: Mapping | None = None,
        color_type: str = "bgr",
        **embedding,
    ) -> None:
        super().__init__(**embedding)
        if color_type not in ("bgr", "rgb"):
            raise ValueError(f"color_type must be 'bgr' or 'rgb', got {color_type!r}")
        self.color_type = color_type
        self._config = _describe_encoder(encoder)

    def transform(self, results: dict) -> dict:
        """Attach the embedding; see the class."""
        encoder = _build_encoder(self._config)
        given = self._given(results, encoder.text)
        if given is not None:
            return self._attach(results, given, encoder.text)
        self._check_untouched(results)
        image = results["img"]
        if self.color_type == "bgr":
            image = image[:, :, ::-1]
        embedding = encoder.encode_pixels(encoder.prepare(image)[None])[0].cpu()
        return self._attach(results, embedding, encoder.text)

    def _check_untouched(self, results: dict) -> None:
        image, original = results["img"], results.get("ori_shape")
        reasons = [key for key in _CHANGED_BY if results.get(key)]
        if original is not None and tuple(image.shape[:2]) != tuple(original[:2]):
            reasons.append(f"its size is {image.shape[:2]}, loaded as {tuple(original[:2])}")
        if image.dtype != np.uint8:
            reasons.append(f"its type is {image.dtype}, not uint8")
        if image.ndim != 3 or image.shape[2] != 3:
            reasons.append(f"its shape is {image.shape}, not (H, W, 3)")
        if reasons:
            name = Path(results.get("img_path") or "an image")
            raise ValueError(
                f"EncodeDomain must see the image as it was loaded, but {name} was changed: "
                f"{'; '.join(reasons)}. Put EncodeDomain right after LoadImageFromFile."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(encoder={self._config}, {self._describe()})"
