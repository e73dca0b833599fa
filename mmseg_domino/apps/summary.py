"""One self-contained page: how many images were kept, what they look like, why others were not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..page import (
    Block,
    Details,
    Gallery,
    Heading,
    Page,
    Pairs,
    Picture,
    Section,
    Table,
    data_uri,
    write_page,
)
from ..synthesis.source import LabelledImages
from ..synthesis.tree import Record, SynthesisTree

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
    """Write ``summary.html`` into a folder of generated images."""
    numbers = {source.name(i): i for i in range(len(source))}
    by_domain: dict[str, dict[str, list[Record]]] = {}
    for record in sorted(records, key=lambda r: r.domain):
        groups = by_domain.setdefault(record.domain, {"kept": [], "rejected": []})
        if record.status in groups:
            groups[record.status].append(record)
    rows = [
        [domain, len(g["kept"]), len(g["rejected"]),
         100 * len(g["kept"]) / max(1, len(g["kept"]) + len(g["rejected"]))]
        for domain, g in by_domain.items()
    ]  # fmt: skip
    overview = Table(["Domain", "Kept", "Rejected", "Kept, %"], rows, digits=1)
    sections = [Section("overview", "", [overview] if rows else [])]
    for domain, groups in by_domain.items():
        pictures = {
            status: [_picture(tree, source, numbers, r, width) for r in _spread(found, examples)]
            for status, found in groups.items()
        }
        sections.append(Section(domain, domain, _domain(groups, pictures)))
    made = Details("All settings", [Pairs(_flat(maker))])
    page = Page(
        f"Generated images: {tree.root.name}",
        [*sections, Section("made", "How they were made", [made])],
        "Synthesis",
        ["Under each generated image: the real image and the label that it was made from."],
    )
    return write_page(page, tree.root / "summary.html")


def _domain(
    groups: Mapping[str, Sequence[Record]], pictures: Mapping[str, Sequence[Picture]]
) -> list[Block]:
    blocks: list[Block] = []
    scores = _score_rows(groups)
    if scores:
        blocks.append(Table(["Median of", "Kept", "Rejected"], scores))
    if groups["kept"]:
        blocks += [Heading(f"Kept: {len(groups['kept'])}", 3, "good"), Gallery(pictures["kept"])]
    if groups["rejected"]:
        reasons = Counter(_kind(record.reason) for record in groups["rejected"]).most_common()
        blocks += [
            Heading(f"Rejected: {len(groups['rejected'])}", 3, "bad"),
            Table(["Reason", "Images"], [list(reason) for reason in reasons]),
            Gallery(pictures["rejected"]),
        ]
    return blocks


def _kind(reason: str | None) -> str:
    """Reasons without their numbers and names, so that they can be counted."""
    text = reason or "unknown"
    for end in (" is ", " as ", ": ", " ("):
        # "agreement with the label is 12.3 %, below 40 %" -> "agreement with the label"
        if end in text and not text.startswith("the image"):
            return text.split(end)[0] + (" others" if end == " as " else "")
    return text


def _score_rows(groups: Mapping[str, Sequence[Record]]) -> list[list[str | None]]:
    rows = []
    for key, name in _SCORES.items():
        medians: list[str | None] = []
        for records in groups.values():
            values = [r.scores[key] for r in records if r.scores.get(key) is not None]
            medians.append(f"{np.median(values):.3g}" if values else None)
        if any(medians):
            rows.append([name, *medians])
    return rows


def _spread(records: Sequence[Record], number: int) -> list[Record]:
    if len(records) <= number:
        return list(records)
    return [records[i] for i in np.linspace(0, len(records) - 1, number).round().astype(int)]


def _picture(
    tree: SynthesisTree,
    source: LabelledImages,
    numbers: dict[str, int],
    record: Record,
    width: int,
) -> Picture:
    more = []
    if record.source in numbers:
        try:
            image, label = source.read(numbers[record.source])
        except (ValueError, OSError):
            pass  # its reason is shown; there is nothing else to show
        else:
            palette = np.zeros((256, 3), np.uint8)
            palette[: len(source.palette)] = source.palette
            more = [(data_uri(image, side=width), "real image"),
                    (data_uri(palette[label], side=width), "label")]  # fmt: skip
    path = tree.image_path(record.domain, record.name, record.status == "kept")
    made = None
    if path.is_file():
        with Image.open(path) as image:
            made = data_uri(image.convert("RGB"), side=width)
    scores = [f"{k.replace('_', ' ')} {v:.3g}" for k, v in record.scores.items()
              if isinstance(v, int | float)]  # fmt: skip
    drawn = ", ".join(f"{name} {value}" for name, value in record.parameters.items())
    lines = [record.prompt, drawn, ", ".join([*scores, f"seed {record.seed}"])]
    warning = record.reason or ""
    return Picture(made, record.name, [line for line in lines if line], warning, more)


def _flat(values: dict, where: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        place = f"{where}.{key}" if where else key
        if isinstance(value, dict):
            rows += _flat(value, place)
        else:
            rows.append((place, str(value)))
    return rows
