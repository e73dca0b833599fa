"""Which steps of a pipeline load an image, and which work on it."""

import re
from collections.abc import Mapping, Sequence

from mmseg.registry import TRANSFORMS

from ..utils.configs import type_name

#: LoadImageFromFile, LoadImageFromNDArray, LoadCheckedImage, InferencerLoader, ...
_IMAGE = re.compile(r"^(Load(?!Multiple)\w*Image\w*|InferencerLoader)$")
_ANNOTATIONS = re.compile(r"^Load\w*Annotations$")


def loads_image(step: Mapping) -> bool:
    """Whether a step reads the image."""
    return bool(_IMAGE.match(type_name(step)))


def loads_annotations(step: Mapping) -> bool:
    """Whether a step reads the labels."""
    return bool(_ANNOTATIONS.match(type_name(step)))


def is_loading(step: Mapping) -> bool:
    """Whether a step belongs to loading: what an image is, and of which data set and domain.

    Those are the steps that read it, and transforms that say so by a class attribute ``is_loading
    = True``, such as ``SetDomain`` and ``Corrupt``. They stay with the data set when another
    pipeline, such as that of test-time augmentation, is put in place of its own.
    """
    kind = step.get("type")
    known = TRANSFORMS.get(kind) if isinstance(kind, str) else kind
    return loads_image(step) or bool(getattr(known, "is_loading", False))


def split_loading(pipeline: Sequence[Mapping]) -> tuple[list, list]:
    """The steps that load, and those after them."""
    end = next((i for i, step in enumerate(pipeline) if not is_loading(step)), len(pipeline))
    late = [type_name(step) for step in pipeline[end:] if is_loading(step)]
    if late:
        raise ValueError(
            f"{', '.join(late)} must come before {type_name(pipeline[end])}: it says what the "
            f"image is. The pipeline has {', '.join(map(type_name, pipeline))}"
        )
    return list(pipeline[:end]), list(pipeline[end:])


def steps_after_loading(pipeline: Sequence[Mapping]) -> list[dict]:
    """What a pipeline does to an image that is in no data set, once it is loaded.

    Labels are not loaded. What belongs to a data set (its domain, a corruption, a store's entry) is
    left out; an encoder stays.
    """
    start = next((i for i, step in enumerate(pipeline) if loads_image(step)), None)
    if start is None:
        found = [type_name(step) for step in pipeline]
        raise ValueError(
            "the config does not say how an image is prepared: neither its first test data set nor "
            f"`test_pipeline` has a pipeline that loads one; found {found or 'none'}"
        )
    return [
        dict(step)
        for step in pipeline[start + 1 :]
        if type_name(step) == "EncodeDomain" or not (is_loading(step) or loads_annotations(step))
    ]
