"""One self-contained page: how many images were kept, what they look like, why others were not."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from ..synthesis.source import LabelledImages
from ..synthesis.tree import Record, SynthesisTree
from ..utils.io import atomic_write
from ..version import __version__

__all__ = ["write_summary"]

_SCORES = {
    "agreement": "agreement with the label (mIoU, %)",
    "domain_score": "CLIP's score of the domain",
    "similarity": "CLIP's image-text similarity",
}


def write_summary(
    tree: SynthesisTree,
    source: LabelledImages,
    records: Sequence[Record],
    maker: dict,
    examples: int = 8,
    width: int = 320,
) -> Path:
    """Write ``summary.html`` into a folder of generated images.

    Args:
        tree: The folder.
        source: What they were made from, for the pictures beside them.
        records: All images.
        maker: What they were made with.
        examples: Pictures of each domain, kept and rejected, spread evenly over the data set.
        width: Of a picture in pixels.

    Returns:
        The page's path.
    """
    numbers = {source.name(i): i for i in range(len(source))}
    groups = []
    for domain in sorted({record.domain for record in records}):
        mine = [record for record in records if record.domain == domain]
        kept = [record for record in mine if record.status == "kept"]
        rejected = [record for record in mine if record.status == "rejected"]
        groups.append(
            {
                "domain": domain,
                "kept": len(kept),
                "rejected": len(rejected),
                "scores": _score_rows(mine),
                "reasons": Counter(_kind(r.reason) for r in rejected).most_common(),
                "kept_examples": [
                    _example(tree, source, numbers, r, width) for r in _spread(kept, examples)
                ],
                "rejected_examples": [
                    _example(tree, source, numbers, r, width) for r in _spread(rejected, examples)
                ],
            }
        )
    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=True)
    page = environment.get_template("summary.html.j2").render(
        groups=groups, maker=_flat(maker), version=__version__, title=tree.root.name
    )
    path = tree.root / "summary.html"
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _kind(reason: str | None) -> str:
    """Reasons without their numbers and names, so that they can be counted."""
    text = reason or "unknown"
    for end in (" is ", " as ", ": ", " ("):
        # "agreement with the label is 12.3 %, below 40 %" -> "agreement with the label"
        if end in text and not text.startswith("the image"):
            return text.split(end)[0] + (" others" if end == " as " else "")
    return text


def _score_rows(records: Sequence[Record]) -> list[dict]:
    rows = []
    for key, name in _SCORES.items():
        row = {"name": name}
        for status in ("kept", "rejected"):
            values = [
                r.scores[key]
                for r in records
                if r.status == status and r.scores.get(key) is not None
            ]
            row[status] = f"{np.median(values):.3g}" if values else ""
        if row["kept"] != "" or row["rejected"] != "":
            rows.append(row)
    return rows


def _spread(records: Sequence[Record], number: int) -> list[Record]:
    if len(records) <= number:
        return list(records)
    return [records[i] for i in np.linspace(0, len(records) - 1, number).round().astype(int)]


def _example(
    tree: SynthesisTree,
    source: LabelledImages,
    numbers: dict[str, int],
    record: Record,
    width: int,
) -> dict:
    pictures = {}
    if record.source in numbers:
        try:
            image, label = source.read(numbers[record.source])
            palette = np.zeros((256, 3), np.uint8)
            palette[: len(source.palette)] = source.palette
            pictures = {"real": _uri(image, width), "label": _uri(palette[label], width)}
        except (ValueError, OSError):
            pass  # its reason is shown; there is nothing else to show
    path = tree.image_path(record.domain, record.name, record.status == "kept")
    if path.is_file():
        with Image.open(path) as made:
            pictures["made"] = _uri(np.asarray(made.convert("RGB")), width)
    scores = {k: f"{v:.3g}" for k, v in record.scores.items() if isinstance(v, int | float)}
    return {"record": record, "pictures": pictures, "scores": scores}


def _uri(image: np.ndarray, width: int) -> str:
    small = Image.fromarray(image)
    small.thumbnail((width, width))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _flat(values: dict, where: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        place = f"{where}.{key}" if where else key
        if isinstance(value, dict):
            rows += _flat(value, place)
        else:
            rows.append((place, str(value)))
    return rows
