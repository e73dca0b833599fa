"""A trained model that was exported, as a plain object: image in, label map out.

Shapes: ``B`` batch, ``H W`` the image's size, ``h w`` that of the network's input, ``N`` classes,
``K`` domains, ``D`` embedding width.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..utils.windows import window_positions
from .graphs import Graph, open_graph
from .images import as_rgb, encoder_pixels, network_pixels, resize_logits
from .manifest import read_manifest
from .prediction import Prediction

#: ``(B, 3, h, w)`` float32 -> logits ``(B, N, h, w)``.
_Network = Callable[[np.ndarray], np.ndarray]


class Segmenter:
    """A folder of ``domino export``, ready for images.

    It gives what ``domino test`` gives with the config and the checkpoint: the image is prepared as
    the config's test prepares it, its domain is read off the whole image, and the network sees it
    whole or by overlapping windows whose logits are averaged. Images smaller than a window, or than
    the network takes, are continued at their border.

    Args:
        folder: The exported model.
        device: ``"cpu"``, or such as ``"cuda:0"``.
        threads: On a CPU; None for the library's own choice.
        windows_per_batch: How many windows go through the network at once; None for what the config
            says. Memory and speed depend on it, the result does not (to rounding).

    Raises:
        FileNotFoundError: If the folder holds no exported model.
        ExportedModelError: If its files are not those that were exported.
        ImportError: If the library that runs it is not installed.
        ValueError: If the device is not there, or the numbers are not positive.

    Example:
        >>> segmenter = Segmenter("exported/")
        >>> segmenter("street.jpg").labels
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        device: str = "cpu",
        threads: int | None = None,
        windows_per_batch: int | None = None,
    ) -> None:
        for name, value in (("threads", threads), ("windows_per_batch", windows_per_batch)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        folder = Path(folder)
        self.manifest = read_manifest(folder)
        self._inference = self.manifest["inference"]
        batch = windows_per_batch or self._inference["windows_per_batch"]
        self._batch = min(batch, self.manifest["network"]["largest_batch"])

        def load(part: Mapping) -> Graph:
            return open_graph(folder / part["file"], self.manifest["format"], device, threads)

        self._network = load(self.manifest["network"])
        encoder = self.manifest["encoder"]
        self._encoder = None if encoder is None else load(encoder)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the ``N`` classes."""
        return tuple(self.manifest["classes"])

    @property
    def palette(self) -> list[list[int]]:
        """Their colours, RGB."""
        return self.manifest["palette"]

    @property
    def domains(self) -> tuple[str, ...]:
        """The ``K`` domains that the model tells apart; empty if it knows of none."""
        return tuple(self.manifest["domain"]["names"])

    def __call__(
        self,
        image: str | os.PathLike | bytes | np.ndarray,
        force_domain: str | None = None,
        embedding: Mapping[str, np.ndarray] | None = None,
        probabilities: bool = False,
    ) -> Prediction:
        """Segment one image.

        Args:
            image: A path, a file's bytes or an array; see :func:`~.images.as_rgb`.
            force_domain: One of :attr:`domains`, in place of what the encoder sees.
            embedding: Vectors ``(D,)`` for the network's inputs (``joint``, ``context``,
                ``scores``) in place of the encoder's, as an embedding store has them.
            probabilities: Whether to give the classes' probabilities, too.

        Raises:
            DamagedImageError: If a file is not a whole image.
            FileNotFoundError: If there is no such file.
            ValueError: If an array is no image or the image too large, the domain cannot be
                forced, or the network needs a domain and there is no encoder.
        """
        rgb = as_rgb(image)
        inputs, scores = self._domain(rgb, force_domain, embedding)
        logits = self.logits(rgb, inputs)
        names = () if scores is None else self.domains
        return Prediction(
            self._labels(logits),
            names,
            () if scores is None else tuple(scores.tolist()),
            force_domain,
            _probabilities(logits) if probabilities else None,
        )

    def embed(self, image: str | os.PathLike | bytes | np.ndarray) -> dict[str, np.ndarray]:
        """What the encoder says of an image: vectors by space, and ``scores`` ``(K,)``.

        Raises:
            ValueError: If the model was exported without its encoder.
        """
        if self._encoder is None:
            raise ValueError(
                f"this model has no domain encoder: {self.manifest['encoder_left_out']}"
            )
        part = self.manifest["encoder"]
        pixels = encoder_pixels(as_rgb(image), part["preprocessing"])
        outputs = self._encoder({"pixels": pixels[None]})
        return {
            name: output[0].astype(np.float32)
            for name, output in zip(part["outputs"], outputs, strict=True)
        }

    def logits(
        self, image: str | os.PathLike | bytes | np.ndarray, domain: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """What the network says of each pixel before softmax, ``(N, H, W)`` float32.

        Args:
            image: As for calling.
            domain: The network's further inputs, ``(D,)`` by name.
        """
        rgb = as_rgb(image)
        pixels, size = network_pixels(rgb, self.manifest["preprocessing"])

        def run(batch: np.ndarray) -> np.ndarray:
            rows = {n: np.repeat(v[None], len(batch), 0) for n, v in domain.items()}
            return self._network({"image": np.ascontiguousarray(batch), **rows})[0]

        inference = self._inference
        if inference["window"] is None:
            logits = _whole(pixels, inference["multiple"], inference["sides"], run)
        else:
            window, stride = tuple(inference["window"]), tuple(inference["stride"])
            logits = _by_windows(pixels, window, stride, self._batch, run)
        logits = logits[:, : size[0], : size[1]]
        return resize_logits(logits, rgb.shape[:2], inference["align_corners"])

    def _domain(
        self, rgb: np.ndarray, forced: str | None, given: Mapping[str, np.ndarray] | None
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """The network's further inputs, and the scores that were predicted."""
        if forced is not None and given is not None:
            raise ValueError("give force_domain or embedding, not both")
        needed = self.manifest["network"]["domain_inputs"]
        if forced is not None:
            return self._forced(forced, needed), None
        if given is not None:
            return _checked(given, needed), None
        if self._encoder is not None:
            seen = self.embed(rgb)
            return {name: seen[name] for name in needed}, seen["scores"]
        if needed:
            raise ValueError(
                f"the network needs the image's domain ({', '.join(needed)}) and has no encoder: "
                f"{self.manifest['encoder_left_out']}. Give force_domain or embedding."
            )
        return {}, None

    def _forced(self, name: str, needed: Mapping[str, int]) -> dict[str, np.ndarray]:
        domain = self.manifest["domain"]
        if domain["vectors"] is None:
            raise ValueError(domain["not_forced"])
        if name not in domain["names"]:
            raise ValueError(
                f"unknown domain {name!r}; the model's are {', '.join(domain['names'])}"
            )
        row = domain["names"].index(name)
        return {n: np.array(domain["vectors"][n][row], np.float32) for n in needed}

    def _labels(self, logits: np.ndarray) -> np.ndarray:
        if len(logits) == 1:
            return (_probabilities(logits)[0] > self._inference["threshold"]).astype(np.uint8)
        # Class by class: argmax over the first axis of so large an array takes several times as
        # long.
        kind = np.uint8 if len(logits) <= 256 else np.uint16
        best, labels = logits[0].copy(), np.zeros(logits.shape[1:], kind)
        for index in range(1, len(logits)):
            labels[logits[index] > best] = index
            np.maximum(best, logits[index], out=best)
        return labels


def _checked(given: Mapping[str, np.ndarray], needed: Mapping[str, int]) -> dict[str, np.ndarray]:
    vectors = {name: np.asarray(given.get(name, ()), np.float32) for name in needed}
    wrong = [f"{n} {v.shape}" for n, v in vectors.items() if v.shape != (needed[n],)]
    if wrong:
        expected = ", ".join(f"{name} ({width},)" for name, width in needed.items())
        raise ValueError(f"the network takes {expected}; the embedding given has {wrong}")
    if not all(np.isfinite(vector).all() for vector in vectors.values()):
        raise ValueError("the embedding holds NaN or infinite values")
    return vectors


def _probabilities(logits: np.ndarray) -> np.ndarray:
    if len(logits) == 1:
        return 1 / (1 + np.exp(-logits))
    odds = np.exp(logits - logits.max(axis=0))
    return odds / odds.sum(axis=0)


def _continued(pixels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """``(3, h, w)`` with its last row and column repeated to a size at least."""
    missing = [max(s - p, 0) for s, p in zip(size, pixels.shape[1:], strict=True)]
    if not any(missing):
        return pixels
    return np.pad(pixels, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge")


def _whole(pixels: np.ndarray, multiple: int, sides: tuple[int, int], run: _Network) -> np.ndarray:
    height, width = pixels.shape[1:]
    if max(height, width) > sides[1]:
        raise ValueError(
            f"the network takes sides of at most {sides[1]} pixels and the image has {height} x "
            f"{width}; export the model for windows (model.test_cfg.mode=slide)"
        )
    size = [-(-max(length, sides[0]) // multiple) * multiple for length in (height, width)]
    return run(_continued(pixels, size)[None])[0, :, :height, :width]


def _by_windows(
    pixels: np.ndarray, window: tuple[int, int], stride: tuple[int, int], batch: int, run: _Network
) -> np.ndarray:
    height, width = pixels.shape[1:]
    pixels = _continued(pixels, window)
    size = pixels.shape[1:]
    places = [
        (slice(y, y + window[0]), slice(x, x + window[1]))
        for y, x in window_positions(size, window, stride)
    ]
    total, count = None, np.zeros(size, np.float32)
    for first in range(0, len(places), batch):
        chunk = places[first : first + batch]
        found = run(np.stack([pixels[:, rows, columns] for rows, columns in chunk]))
        if total is None:
            total = np.zeros((found.shape[1], *size), np.float32)
        for (rows, columns), logits in zip(chunk, found, strict=True):
            total[:, rows, columns] += logits
            count[rows, columns] += 1
    if len(places) > 1:
        total /= count
    return total[:, :height, :width]
