"""Example images of a test: which to show, how they are stored, how they are drawn.

Shapes: ``H W`` spatial, ``M`` images, ``N`` classes. Labels and predictions hold class indices,
255 where there is no truth.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from ..metrics import GroupKey, PerImage, ResultsError
from ..page import data_uri
from ..page.colours import ERROR, SEQUENTIAL
from ..utils import OutsideNameError, resolve_below, write_text
from ..utils.images import open_image, write_image
from ..utils.text import parse_json

EXAMPLES_FORMAT = "mmseg_domino.examples/1"
INDEX_FILE = "examples.json"
KINDS = ("best", "median", "worst")
_PARTS = ("image", "truth", "prediction", "confidence")
_LABELS = ("truth", "prediction")
IGNORED = 255


@dataclass(frozen=True)
class Selection:
    """An image to show.

    Attributes:
        index: Its row in the counts by image.
        group: Its ``dataset/domain``.
        image: Its path.
        kind: ``'best'``, ``'median'`` or ``'worst'``.
        rank: From 1, the best image of its group, to ``count``.
        count: Images of the group that have an mIoU.
        miou: Percent; of a detector's image its AP50.
    """

    index: int
    group: str
    image: str
    kind: str
    rank: int
    count: int
    miou: float


def select_examples(per_image: PerImage, number: int = 1) -> list[Selection]:
    """The best, median and worst images of each group by their own mIoU.

    Exact, and the same in every process: ties are broken by path. No image is chosen twice; a
    group with fewer than ``3 * number`` images gives what it has. Images without a labelled pixel
    have no mIoU and are left out.

    Raises:
        ValueError: If ``number`` is less than 1.
    """
    return select_ranked(per_image.miou, per_image.groups, per_image.images, number)


def select_ranked(
    values: np.ndarray, groups: Sequence[str], images: Sequence[str], number: int
) -> list[Selection]:
    """The same by any figure of single images ``(M,)`` percent, NaN for those without one."""
    if number < 1:
        raise ValueError(f"number must be at least 1, got {number}")
    of_group, chosen = np.array(groups), []
    for group in dict.fromkeys(groups):
        members = [int(i) for i in (of_group == group).nonzero()[0] if not np.isnan(values[i])]
        members.sort(key=lambda i: (-values[i], images[i]))
        count, middle = len(members), (len(members) - 1) // 2
        # Outwards from the middle: the medians nearest to it come first.
        central = sorted(range(count), key=lambda r: (abs(r - middle), r))
        ranks: dict[int, str] = {}
        orders = {"best": list(range(count)), "worst": list(range(count))[::-1], "median": central}
        for kind, order in orders.items():
            free = [rank for rank in order if rank not in ranks]
            ranks.update((rank, kind) for rank in free[:number])
        for rank in sorted(ranks):
            i, kind = members[rank], ranks[rank]
            chosen.append(Selection(i, group, images[i], kind, rank + 1, count, float(values[i])))
    return chosen


@dataclass(frozen=True)
class ExampleArrays:
    """What is shown of an image, all of one size.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        prediction: ``(H, W)`` uint8.
        truth: ``(H, W)`` uint8, or ``None`` if there are no labels.
        confidence: ``(H, W)`` uint8, 0 to 255 for ratios 0 to 1, or ``None``.
    """

    image: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray | None = None
    confidence: np.ndarray | None = None

    def reduced(self, long_side: int) -> "ExampleArrays":
        """No side longer than ``long_side``; labels by nearest neighbour."""
        return ExampleArrays(**{
            part: array if array is None else reduced(array, long_side, part in _LABELS)
            for part, array in vars(self).items()
        })  # fmt: skip


def reduced(array: np.ndarray, long_side: int, labels: bool = False) -> np.ndarray:
    """A picture with no side longer than ``long_side``."""
    height, width = array.shape[:2]
    scale = min(1.0, long_side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = Image.Resampling.NEAREST if labels else Image.Resampling.BOX
    return np.asarray(Image.fromarray(array).resize(size, how))


@dataclass(frozen=True)
class Example:
    """A stored example: a :class:`Selection` and its pictures.

    Attributes:
        files: File names by part: ``image``, ``prediction``, ``truth``, ``confidence``.
        folder: The folder they lie in.
    """

    group: str
    image: str
    kind: str
    rank: int
    count: int
    miou: float
    files: Mapping[str, str]
    folder: Path

    def pictures(self) -> dict[str, np.ndarray]:
        """What is in the files, by part.

        Raises:
            ResultsError: If one is missing or damaged; names it.
        """
        parts = {}
        for part in self.files:
            path = self.path(part)
            try:
                parts[part] = np.asarray(open_image(path))
            except (OSError, ValueError) as error:
                raise ResultsError(
                    f"{path}: cannot be read ({error}); test again with --report"
                ) from error
        if len({array.shape[:2] for array in parts.values()}) > 1 or parts["image"].ndim != 3:
            found = ", ".join(f"{self.path(name)} {a.shape}" for name, a in parts.items())
            raise ResultsError(
                f"an example's parts are not of one size: {found}; test again with --report"
            )
        return parts

    def path(self, part: str) -> Path:
        """The file of a part.

        Raises:
            OutsideNameError: If the index names one outside the folder.
        """
        return resolve_below(self.folder, self.files[part], self.folder / INDEX_FILE)


def write_example(
    folder: Path, selection: Selection, pictures: Mapping[str, np.ndarray | None]
) -> Example:
    """Store pictures by part as PNG files, each written whole or not at all."""
    group = GroupKey(selection.group)
    stem = f"{group.dataset}_{group.domain}_{selection.rank:05}"
    files = {part: f"{stem}_{part}.png" for part in _PARTS if pictures.get(part) is not None}
    for part, name in files.items():
        write_image(folder / name, pictures[part], optimize=True)
    values = {key: value for key, value in asdict(selection).items() if key != "index"}
    return Example(**values, files=files, folder=folder)


def write_index(folder: Path, classes: Sequence[str], examples: Sequence[Example]) -> None:
    """Write ``examples.json``, the list of what lies in ``folder``."""
    entries = [{k: v for k, v in vars(e).items() if k != "folder"} for e in examples]
    data = {"format": EXAMPLES_FORMAT, "classes": list(classes), "examples": entries}
    write_text(folder / INDEX_FILE, json.dumps(data, indent=1))


def clear_examples(folder: str | Path) -> None:
    """Remove the examples that an earlier test left; other files stay."""
    folder = Path(folder)
    try:
        stored = load_examples(folder)
    except ResultsError:
        stored = []  # the index is overwritten in any case
    for example in stored:
        for part in example.files:
            example.path(part).unlink(missing_ok=True)
    (folder / INDEX_FILE).unlink(missing_ok=True)


def _example(entry: Mapping, folder: Path) -> Example:
    example = Example(**entry, folder=folder)
    if example.kind not in KINDS or not {"image", "prediction"} <= set(example.files) <= {*_PARTS}:
        raise ResultsError(
            f"an entry is a {example.kind!r} image with {sorted(example.files)}; test again with "
            "--report"
        )
    GroupKey(example.group)
    for part in example.files:
        try:
            example.path(part)
        except OutsideNameError as error:
            raise ResultsError(str(error)) from error
    float(example.miou), int(example.rank), int(example.count)
    return example


def load_examples(folder: str | Path, classes: Sequence[str] | None = None) -> list[Example]:
    """The examples of a folder, empty if it has none.

    Raises:
        ResultsError: If the index is damaged, of another format or of another class set, or names a
            file outside the folder.
    """
    folder = Path(folder)
    file = folder / INDEX_FILE
    if not file.is_file():
        return []
    try:
        data = parse_json(file.read_bytes())
        if data["format"] != EXAMPLES_FORMAT:
            raise ResultsError(f"its format is {data['format']!r}, expected {EXAMPLES_FORMAT!r}")
        if classes is not None and data["classes"] != list(classes):
            raise ResultsError("it was written with another class set than results.json")
        return [_example(entry, folder) for entry in data["examples"]]
    except ResultsError as error:
        raise ResultsError(f"{file}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"{file}: damaged ({error!r}); test again with --report") from error


def _indexed(labels: np.ndarray, colours: np.ndarray) -> str:
    """A palette PNG: labels compress far better as indices than as colours."""
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(colours.tobytes())
    return data_uri(image, "png")


def _class_colours(palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """``(256, 3)`` uint8; white where there is no class."""
    colours = np.full((256, 3), 255, np.uint8)
    colours[: len(palette)] = palette
    return colours


def _confidence_colours() -> np.ndarray:
    return np.round(255 * matplotlib.colormaps[SEQUENTIAL](np.arange(256))[:, :3]).astype(np.uint8)


def render(
    arrays: ExampleArrays, palette: Sequence[tuple[int, int, int]], long_side: int = 640
) -> dict[str, str]:
    """The pictures of an example as ``data:`` URIs, by name, in the order in which to show them.

    ``input``; ``truth`` and ``prediction`` in the class colours; ``error``: wrong pixels in
    vermilion over the grey image, unlabelled ones white; ``confidence``: cividis, 0 to 1. Without
    a truth, or without a confidence, the pictures that need it are left out.
    """
    arrays = arrays.reduced(long_side)
    colours = _class_colours(palette)
    pictures = {"input": data_uri(arrays.image)}
    if arrays.truth is not None:
        pictures["truth"] = _indexed(arrays.truth, colours)
    pictures["prediction"] = _indexed(arrays.prediction, colours)
    if arrays.truth is not None:
        pictures["error"] = data_uri(error_map(arrays))
    if arrays.confidence is not None:
        # 32 steps are as fine as the eye tells apart, and halve the file.
        steps = (arrays.confidence // 8) * 8 + 4
        pictures["confidence"] = _indexed(steps, _confidence_colours())
    return pictures


def render_pixels(
    arrays: ExampleArrays, palette: Sequence[tuple[int, int, int]]
) -> dict[str, np.ndarray]:
    """The pictures of :func:`render` as arrays ``(H, W, 3)`` uint8."""
    colours = _class_colours(palette)
    pictures = {"input": arrays.image, "prediction": colours[arrays.prediction]}
    if arrays.truth is not None:
        pictures.update(truth=colours[arrays.truth], error=error_map(arrays))
    if arrays.confidence is not None:
        pictures["confidence"] = _confidence_colours()[arrays.confidence]
    return pictures


def error_map(arrays: ExampleArrays) -> np.ndarray:
    """``(H, W, 3)`` uint8: grey image, wrong pixels vermilion, unlabelled ones white."""
    grey = np.asarray(Image.fromarray(arrays.image).convert("L"), dtype=np.float32)
    picture = np.repeat((grey * 0.6 + 60)[..., None], 3, axis=2)
    wrong = (arrays.truth != arrays.prediction) & (arrays.truth != IGNORED)
    picture[wrong] = 0.25 * picture[wrong] + 0.75 * 255 * np.array(to_rgb(ERROR))
    picture[arrays.truth == IGNORED] = 255
    return picture.round().clip(0, 255).astype(np.uint8)
