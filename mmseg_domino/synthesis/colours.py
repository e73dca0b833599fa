"""From class names to the colour code of segmentation ControlNets, that of ADE20K.

Shapes: ``H W`` image, ``N`` classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np

#: For classes of Cityscapes and of other street data sets: the ADE20K class that stands for each,
#: and its colour. ADE20K's 150 classes know no rider, train, traffic sign or terrain; the nearest
#: by looks are taken.
ADE20K_OF_CLASS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "road": ("road", (140, 140, 140)),
    "sidewalk": ("sidewalk", (235, 255, 7)),
    "building": ("building", (180, 120, 120)),
    "wall": ("wall", (120, 120, 120)),
    "fence": ("fence", (255, 184, 6)),
    "pole": ("pole", (51, 0, 255)),
    "traffic light": ("traffic light", (41, 0, 255)),
    "traffic sign": ("signboard", (255, 5, 153)),
    "vegetation": ("tree", (4, 200, 3)),
    "terrain": ("grass", (4, 250, 7)),
    "sky": ("sky", (6, 230, 230)),
    "person": ("person", (150, 5, 61)),
    "rider": ("person", (150, 5, 61)),
    "car": ("car", (0, 102, 200)),
    "truck": ("truck", (255, 0, 20)),
    "bus": ("bus", (255, 0, 245)),
    "train": ("bus", (255, 0, 245)),
    "motorcycle": ("minibike", (163, 0, 255)),
    "bicycle": ("bicycle", (255, 245, 0)),
    # CamVid
    "pavement": ("sidewalk", (235, 255, 7)),
    "tree": ("tree", (4, 200, 3)),
    "sign": ("signboard", (255, 5, 153)),
    "pedestrian": ("person", (150, 5, 61)),
    "bicyclist": ("person", (150, 5, 61)),
}


class LabelValuesError(ValueError):
    """A label map holds values that are no class."""


def class_colours(
    classes: Sequence[str], extra: Mapping[str, Sequence[int]] | None = None
) -> np.ndarray:
    """The control colour of each class.

    Args:
        classes: ``N`` class names.
        extra: Colours ``(R, G, B)`` of further classes, or in place of the table's.

    Returns:
        ``(N, 3)`` uint8.

    Raises:
        ValueError: If a class has no colour, or a colour is not three whole numbers 0 to 255.
    """
    table = {name: colour for name, (_, colour) in ADE20K_OF_CLASS.items()}
    for name, colour in (extra or {}).items():
        values = tuple(colour)
        if len(values) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in values):
            raise ValueError(
                f"the colour of {name!r} must be three whole numbers 0 to 255, got {colour!r}"
            )
        table[name] = values
    unknown = [name for name in classes if name not in table]
    if unknown:
        raise ValueError(
            f"no ADE20K colour is known for the classes {unknown}: give each one through "
            "`colours`, e.g. colours={'tram': (255, 0, 245)}, from ADE20KDataset.METAINFO"
        )
    return np.array([table[name] for name in classes], np.uint8)


def check_label(label: np.ndarray, num_classes: int, ignore_index: int = 255) -> None:
    """Refuse a label map with values that are neither a class nor ``ignore_index``."""
    if label.ndim != 2:
        raise LabelValuesError(
            f"a label map must have one channel, got shape {label.shape}: is it a colour image?"
        )
    values = np.unique(label)
    wrong = values[(values >= num_classes) & (values != ignore_index)]
    if len(wrong):
        raise LabelValuesError(
            f"the label has values {wrong.tolist()[:8]} outside 0 to {num_classes - 1} (and "
            f"{ignore_index}, ignored); is it a labelIds file where labelTrainIds is expected?"
        )


def control_image(label: np.ndarray, colours: np.ndarray, ignore_index: int = 255) -> np.ndarray:
    """The image that a segmentation ControlNet is conditioned on.

    Args:
        label: ``(H, W)`` class numbers.
        colours: ``(N, 3)`` uint8, see :func:`class_colours`.
        ignore_index: Becomes black, as what ADE20K leaves unlabelled.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        LabelValuesError: See :func:`check_label`.
    """
    check_label(label, len(colours), ignore_index)
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    table[ignore_index] = 0
    return table[label]
