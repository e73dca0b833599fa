"""Attacks with names that lead elsewhere, and with folders in disorder."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mmseg_domino.datasets import FolderDataset
from mmseg_domino.datasets.converters import convert_dataset
from mmseg_domino.reporting.examples import load_examples
from tests.reporting.test_examples import store as write_examples

from .damage import cuts, edited, kinds
from .judge import Target

_OUTSIDE = (
    "../neighbour.png",
    "../../sandbox/neighbour.png",
    "{sandbox}/neighbour.png",
    "a/../../neighbour.png",
    "..\\neighbour.png",
    "/etc/hostname",
    "",
    ".",
    "link/x.png",
)


def names(root: Path) -> Iterator[Target]:
    """Names in files that lead out of the folder that they belong to."""
    folder = root / "wilddash"
    (folder / "panoptic").mkdir(parents=True)
    Image.fromarray(np.ones((4, 4, 3), np.uint8)).save(folder / "panoptic/wd0.png")
    (folder / "panoptic/link").symlink_to("../..")
    from tests.datasets.test_conversion import categories

    content = {
        "annotations": [{"file_name": "wd0.png", "segments_info": []}],
        "categories": categories(),
    }
    (folder / "panoptic.json").write_text(json.dumps(content))

    def convert(case: Path) -> np.ndarray:
        convert_dataset("wilddash2", case, overwrite=True)
        return np.asarray(Image.open(case / "labelTrainIds/wd0.png"))

    def named(name: str) -> Callable[[dict], None]:
        def change(content: dict) -> None:
            entry = {"file_name": name.format(sandbox=root / "sandbox"), "segments_info": []}
            content["annotations"].append(entry)

        return change

    evil = [edited(f"names {n!r}", named(n)) for n in _OUTSIDE]
    yield Target(
        "panoptic.json", folder, "panoptic.json", convert, [*evil, *list(cuts())[:8], *kinds()]
    )
    examples = root / "examples of others"
    examples.mkdir()
    write_examples(examples)

    def points(name: str) -> Callable[[dict], None]:
        def change(content: dict) -> None:
            content["examples"][0]["files"]["image"] = name.format(sandbox=root / "sandbox")

        return change

    yield Target(
        "examples.json",
        examples,
        "examples.json",
        lambda case: [e.pictures() for e in load_examples(case, ["road", "sky"])],
        [
            *(edited(f"names {n!r}", points(n)) for n in _OUTSIDE),
            *list(cuts())[:8],
            *list(kinds())[:-3],
        ],
        ("x.png",),
    )


def folders(root: Path) -> Iterator[Target]:
    """Folders of images and labels in every disorder."""
    folder = root / "tree"
    for kind, array in (
        ("images", np.zeros((8, 9, 3))),
        ("labels", np.arange(72).reshape(8, 9) % 5),
    ):
        for number in range(3):
            path = folder / kind / "fog" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(path)

    def use(case: Path) -> list:
        data = FolderDataset(
            data_root=str(case),
            domain=None,
            pipeline=[dict(type="LoadCheckedImage"), dict(type="LoadCheckedAnnotations")],
        )
        samples = [data[i] for i in range(len(data))]
        return [(s["domain"], s["img"], s["gt_seg_map"]) for s in samples]

    def on(name: str, change: Callable[[Path], object]):
        return name, lambda path: change(path.parents[2])

    yield Target(
        "folder",
        folder,
        "images/fog/0.png",
        use,
        [
            on(
                "a hidden copy",
                lambda c: shutil.copytree(c / "images/fog", c / "images/.ipynb_checkpoints"),
            ),
            on(
                "macOS's own files", lambda c: (c / "images/fog/._0.png").write_bytes(b"\0\5\x16\7")
            ),
            on("a link to itself", lambda c: (c / "images/again").symlink_to(".")),
            on("a link to above", lambda c: (c / "images/fog/up").symlink_to("../..")),
            on("a dangling link", lambda c: (c / "images/fog/9.png").symlink_to("nowhere.png")),
            on("a folder called as an image", lambda c: (c / "images/fog/9.png").mkdir()),
            on("a pipe", lambda c: os.mkfifo(c / "images/fog/9.png")),
            on("an image without a label", lambda c: (c / "labels/fog/0.png").unlink()),
            on("no labels", lambda c: shutil.rmtree(c / "labels")),
            on("no images", lambda c: shutil.rmtree(c / "images")),
            on("an empty folder", lambda c: [p.unlink() for p in (c / "images/fog").iterdir()]),
            on(
                "a file for a folder",
                lambda c: (shutil.rmtree(c / "images"), (c / "images").write_text("")),
            ),
            on("a label without an image", lambda c: (c / "images/fog/0.png").unlink()),
            on("an empty image", lambda c: (c / "images/fog/1.png").write_bytes(b"")),
            on("an empty label", lambda c: (c / "labels/fog/1.png").write_bytes(b"")),
            on(
                "a label's folder in other letters",
                lambda c: (c / "labels/fog").rename(c / "labels/FOG"),
            ),
            on(
                "an image too high",
                lambda c: shutil.copy(c / "images/fog/0.png", c / "images/0.png"),
            ),
            on(
                "a domain that cannot be filed",
                lambda c: [(c / k / "fog").rename(c / k / " fog") for k in ("images", "labels")],
            ),
        ],
        ("images", "labels", "0.png", "1.png", "' fog'"),
        lambda case: _what_is_there(case),
    )


def _what_is_there(case: Path) -> list:
    """The pairs that a person would take for the data set's."""
    found = []
    for path in sorted((case / "images").glob("*/*.png")):
        folder = path.parent
        if (
            folder.is_symlink()
            or any(p.startswith(".") for p in path.parts[-2:])
            or not path.is_file()
        ):
            continue
        label = case / "labels" / folder.name / path.name
        pixels = np.asarray(Image.open(path))[..., ::-1]
        found.append((folder.name, pixels, np.asarray(Image.open(label))))
    return found
