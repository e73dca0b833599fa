"""Whether an exported model says what its checkpoint says.

Shapes: ``H W`` the image's size, ``N`` classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmseg.apis import inference_model
from torch import nn
from tqdm import tqdm

from ..domain.sources import SPACE_FIELDS
from ..inference import Segmenter
from ..utils.images import list_images, read_image

#: What may differ: logits relative to the largest, and the share of pixels with the same label.
LIMITS = {"float32": (1e-4, 0.9999), "float16": (None, 0.999)}


def image_files(images: Sequence[Path]) -> list[Path]:
    """Images, and those below folders.

    Raises:
        FileNotFoundError: If one does not exist, or a folder has none.
    """
    missing = [str(path) for path in images if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} do not exist: nothing to compare on")
    return [f for p in images for f in ([p] if p.is_file() else list_images(p).values())]


def check_export(model: nn.Module, folder: Path, files: Sequence[Path], half: bool = False) -> dict:
    """Compare an export with the model that it was made of, from image to label map.

    Args:
        model: From :func:`~.inference.init_domino_model`.
        folder: The export.
        files: Images.
        half: Whether the export computes in float16, for which only labels have a limit.

    Returns:
        ``images``, ``largest_difference`` of the logits relative to the largest logit,
        ``same_label`` (ratio of pixels), ``largest_score_difference`` of the domains, and the
        ``limits``.

    Raises:
        ValueError: If the differences are beyond the limits; names the image that differs most.
    """
    segmenter = Segmenter(folder)
    differences, same, pixels, scores = {}, 0, 0, 0.0
    for file in tqdm(files, unit="image", disable=len(files) < 2):
        image = read_image(file)
        reference, embedded = _reference(model, image)
        own, score = segmenter.embed(image) if segmenter.manifest["encoder"] else {}, None
        if own and embedded:
            score = float(np.abs(own["scores"] - embedded["scores"]).max())
            scores = max(scores, score)
        needed = segmenter.manifest["network"]["domain_inputs"]
        logits = segmenter.logits(image, {n: (own or embedded)[n] for n in needed})
        if len(logits) == 1:
            logits = 1 / (1 + np.exp(-logits))
        differences[str(file)] = float(np.abs(logits - reference).max() / np.abs(reference).max())
        same += int((_labels(logits) == _labels(reference)).sum())
        pixels += logits[0].size
    precision = "float16" if half else "float32"
    found = {
        "images": len(files),
        "largest_difference": max(differences.values()),
        "same_label": same / pixels,
        "largest_score_difference": scores,
        "limits": dict(zip(("largest_difference", "same_label"), LIMITS[precision], strict=True)),
    }
    _refuse(found, differences, precision)
    return found


def _labels(logits: np.ndarray) -> np.ndarray:
    return logits.argmax(axis=0) if len(logits) > 1 else logits[0] > 0.5


def _refuse(found: dict, differences: dict[str, float], precision: str) -> None:
    difference, same = LIMITS[precision]
    if (difference is None or found["largest_difference"] <= difference) and (
        found["same_label"] >= same
    ):
        return
    worst = max(differences, key=differences.get)
    raise ValueError(
        f"the export differs from the checkpoint: logits by {found['largest_difference']:.1e} of "
        f"the largest (at most {difference or 'any'}), the same label on "
        f"{100 * found['same_label']:.3f} % of pixels (at least {100 * same} %), most on {worst}. "
        "Nothing was written. Images smaller than a window, or whole ones whose sides are no "
        "multiples of what the network takes, do differ at their border: compare on others."
    )


@torch.no_grad()
def _reference(model: nn.Module, image: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits ``(N, H, W)`` of the training stack, and the domain that they are under.

    The domain is that of the image as it is, as a store or ``EncodeDomain`` has it.
    """
    data, embedded = model.data_preprocessor, {}
    encoder = getattr(data, "encoder", None)
    if encoder is not None and all(source.name != "oracle" for source in data.sources):
        seen = encoder.encode_pixels(encoder.prepare(image)[None])
        for source in data.sources:
            vector, scores = source(seen, encoder.text)
            embedded[source.space] = vector[0]
        embedded["scores"] = scores[0]
    elif encoder is not None:
        row = torch.eye(len(encoder.text.keys))[0]
        embedded = {s.space: s.table(encoder.text)[0].float() for s in data.sources}
        embedded["scores"] = row

    def attach(module: nn.Module, args: tuple) -> None:
        for sample in args[0]["data_samples"]:
            spaces = [name for name in embedded if name != "scores"]
            for space in spaces:
                field = SPACE_FIELDS[space] if len(spaces) > 1 else "domain_embedding"
                sample.set_data({field: embedded[space].clone()})
            if spaces:
                sample.set_data({"domain_scores": embedded["scores"].clone()})
            if len(spaces) == 1:
                sample.set_metainfo({"domain_space": spaces[0]})

    handle = data.register_forward_pre_hook(attach)
    try:
        sample = inference_model(model, np.ascontiguousarray(image[..., ::-1]))
    finally:
        handle.remove()
    table = getattr(data, "domain_table", None)
    if table is not None:
        embedded = {n: v if n == "scores" else table(v[None])[0] for n, v in embedded.items()}
    arrays = {name: vector.float().numpy() for name, vector in embedded.items()}
    return sample.seg_logits.data.float().numpy(), arrays
