"""Attacks on what runs read: stores, prompt banks, images, labels, tables, names, folders."""

import contextlib
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from mmseg_domino.datasets import FolderDataset, LoadCheckedAnnotations, LoadCheckedImage
from mmseg_domino.datasets.class_statistics import load_class_pixels
from mmseg_domino.datasets.transforms import LoadDomainEmbedding
from mmseg_domino.domain import DomainEncoder
from mmseg_domino.domain.extraction import extract
from mmseg_domino.models.diffusion.class_embeddings import _write, read_class_embeddings
from mmseg_domino.utils.images import list_images
from mmseg_domino.weather.depth import DepthFiles
from tests.tiny_clip import write_tiny_clip

from .damage import cuts, flips, kinds, kinds_but, swapped
from .judge import Target


@cache
def _clip(root: Path, seed: int = 0) -> Path:
    return write_tiny_clip(root / f"clip{seed}", seed)


def _pictures(folder: Path, number: int = 6) -> dict[str, Path]:
    for index in range(number):
        coarse = np.random.default_rng(index).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        path = folder / ("fog", "night")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((60, 40), Image.Resampling.BICUBIC).save(path)
    return list_images(folder)


_BANK = {
    "description": "Weather.",
    "templates": ["a photo taken in {domain}"],
    "domains": {"fog": ["fog", "mist"], "night": ["night"], "rain": ["rain"]},
}


def stores(root: Path) -> Iterator[Target]:
    """An embedding store and its prompt bank, as training reads them; a CLIP model's folder."""
    folder = root / "store"
    images = _pictures(folder / "images")
    (folder / "bank.yaml").write_text(yaml.safe_dump(_BANK))
    encoder = dict(model=str(_clip(root)), bank=str(folder / "bank.yaml"))
    made = folder / "domains.safetensors"
    extract(images, DomainEncoder(**encoder), made, batch_size=2, workers=0)
    others = root / "others"
    others.mkdir()
    other = {**encoder, "model": str(_clip(root, 1))}
    extract(images, DomainEncoder(**other), others / "model.safetensors", workers=0)
    extract(
        images, DomainEncoder(**{**encoder, "bank": "acdc"}), others / "bank.safetensors", workers=0
    )
    few = dict(list(images.items())[:3])
    extract(few, DomainEncoder(**encoder), others / "few.safetensors", workers=0)

    def use(case: Path) -> list:
        load = LoadDomainEmbedding(
            str(case / "domains.safetensors"),
            encoder=dict(model=encoder["model"], bank=str(case / "bank.yaml")),
        )
        found = [load({"img_path": str(p)}) for p in list_images(case / "images").values()]
        return [(f["domain_embedding"], f["domain_scores"], f["domain_names"]) for f in found]

    damages = [
        *flips(30),
        *flips(10, 2000),
        *cuts(),
        *kinds(),
        swapped("another model's", others / "model.safetensors"),
        swapped("another bank's", others / "bank.safetensors"),
        swapped("of fewer images", others / "few.safetensors"),
    ]
    yield Target("store", folder, "domains.safetensors", use, damages)
    yield Target(
        "prompt bank",
        folder,
        "bank.yaml",
        use,
        [*flips(25), *cuts(), *kinds()],
        named=("domains.safetensors",),
    )
    # The weights have no checksum; what is embedded with others is refused by the store.
    clip = root / "clip"
    shutil.copytree(_clip(root), clip / "clip")
    shutil.copytree(folder, clip / "data")

    def with_clip(case: Path) -> list:
        load = LoadDomainEmbedding(
            str(case / "data/domains.safetensors"),
            encoder=dict(model=str(case / "clip"), bank=str(case / "data/bank.yaml")),
        )
        DomainEncoder(str(case / "clip"), bank=str(case / "data/bank.yaml"))
        found = load({"img_path": str(case / "data/images/fog/0.png")})
        return [found["domain_embedding"], found["domain_scores"]]

    named = ("domains.safetensors", "case/clip")
    yield Target(
        "CLIP weights",
        clip,
        "clip/open_clip_model.safetensors",
        with_clip,
        [*flips(5), *flips(5, 2000), *list(cuts())[:7], *list(kinds())[:5]],
        named,
    )
    yield Target(
        "CLIP config",
        clip,
        "clip/open_clip_config.json",
        with_clip,
        [*list(cuts())[:7], *list(kinds())[:7]],
        named,
    )


def extractions(root: Path) -> Iterator[Target]:
    """What a killed extraction left, and goes on from."""
    folder = root / "extraction"
    images = _pictures(folder / "images")
    encoder = DomainEncoder(str(_clip(root)))
    part = folder / "s.safetensors.part"

    class Stop(Exception):
        pass

    embed, calls = encoder.encode_pixels, []

    def embed_some(pixels):
        calls.append(1)
        if len(calls) > 2:
            raise Stop
        return embed(pixels)

    encoder.encode_pixels = embed_some
    with contextlib.suppress(Stop):
        extract(images, encoder, folder / "s.safetensors", batch_size=2, workers=0)
    encoder.encode_pixels = embed
    assert (part / "batch-0000000.safetensors").is_file()

    def use(case: Path) -> bytes:
        found = list_images(case / "images")
        extract(found, encoder, case / "s.safetensors", batch_size=2, workers=0)
        return (case / "s.safetensors").read_bytes()

    yield Target(
        "extraction's plan",
        folder,
        f"{part.name}/plan.json",
        use,
        [*flips(15), *cuts(), *list(kinds())[:7]],
        (part.name,),
    )
    yield Target(
        "extraction's batch",
        folder,
        f"{part.name}/batch-0000000.safetensors",
        use,
        [*flips(12), *cuts(), *list(kinds())[:7]],
        (part.name,),
    )
    yield Target(
        "image to embed",
        folder,
        "images/fog/4.png",
        use,
        [*flips(8), *list(cuts())[:7], *kinds_but("a PNG")],
    )


def pictures(root: Path) -> Iterator[Target]:
    """Images and labels, as the pipelines of training and test load them."""
    rng = np.random.default_rng(0)
    image = np.asarray(
        Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)).resize(
            (96, 64), Image.Resampling.BICUBIC
        )
    )

    def stored(path: Path) -> np.ndarray:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGB"))[..., ::-1]

    for suffix, options in (
        (".png", {}),
        (".jpg", dict(quality=95)),
        (".webp", dict(lossless=True)),
        (".tif", dict(compression="tiff_deflate")),
        (".bmp", {}),
    ):
        folder = root / f"image{suffix}"
        folder.mkdir()
        Image.fromarray(image).save(folder / f"a{suffix}", **options)

        def load(case: Path, name: str = f"a{suffix}") -> np.ndarray:
            return LoadCheckedImage()({"img_path": str(case / name)})["img"]

        # Formats without a checksum show other pixels; then all decoders must agree on which.
        def decode(case: Path, name: str = f"a{suffix}") -> np.ndarray:
            return stored(case / name)

        number = 25 if suffix in (".png", ".jpg") else 8
        yield Target(
            f"{suffix} image",
            folder,
            f"a{suffix}",
            load,
            [*flips(number), *list(cuts())[:7], *kinds_but("a PNG")],
            expected=None if suffix == ".png" else decode,
        )
    folder = root / "label"
    folder.mkdir()
    label = rng.integers(0, 19, (64, 96)).astype(np.uint8)
    others = {
        "of another size": label[:, :-1],
        "in colours": np.stack([label] * 3, -1) * 3,
        "grey as RGB": np.stack([label] * 3, -1),
        "with other values": label + 40,
        "with 16 bits": label.astype(np.uint16) + 256,
        "as 0 and 1": label > 3,
    }
    Image.fromarray(label).save(folder / "a.png")
    places = []
    for name, array in others.items():
        places.append((name, root / f"label {name}.png"))
        Image.fromarray(array).save(places[-1][1])
    # Nothing about a mask of two values says that it is none of 19 classes.
    expected = root / "label as 0 and 1.png"

    def load(case: Path) -> np.ndarray:
        sample = {
            "img_path": "a.jpg",
            "seg_map_path": str(case / "a.png"),
            "seg_fields": [],
            "ori_shape": (64, 96),
            "reduce_zero_label": False,
        }
        return LoadCheckedAnnotations()(sample)["gt_seg_map"]

    yield Target(
        "label",
        folder,
        "a.png",
        load,
        [*flips(25), *cuts(), *kinds(), *(swapped(n, p) for n, p in places if p != expected)],
    )


def tables(root: Path) -> Iterator[Target]:
    """Class embeddings, counts of classes, depth: smaller files beside the data."""
    folder = root / "tables"
    folder.mkdir()
    names = ["road", "sky", "car"]
    _write(
        folder / "classes.safetensors",
        "class_embeddings",
        torch.randn(3, 8),
        {"format": "mmseg_domino.class_embeddings/1", "classes": names},
    )
    yield Target(
        "class embeddings",
        folder,
        "classes.safetensors",
        lambda case: read_class_embeddings(case / "classes.safetensors", names),
        [*flips(20), *cuts(), *kinds()],
    )
    counted = root / "counted" / "data"
    for kind, array in (
        ("images", np.zeros((8, 9, 3))),
        ("labels", np.arange(72).reshape(8, 9) % 5),
    ):
        (counted / kind).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(array.astype(np.uint8)).save(counted / kind / f"{number}.png")

    def count(case: Path) -> np.ndarray:
        data = FolderDataset(data_root=str(case / "data"), pipeline=[dict(type="LoadAnnotations")])
        return load_class_pixels(data, case / "counts.safetensors")

    count(counted.parent)
    yield Target(
        "class counts",
        counted.parent,
        "counts.safetensors",
        count,
        [*flips(20), *list(cuts())[:8], *list(kinds())[:-3]],
    )
    depth = root / "depth"
    depth.mkdir()
    np.save(depth / "a.npy", np.linspace(1, 80, 48, dtype=np.float32).reshape(6, 8))
    yield Target(
        "depth",
        depth,
        "a.npy",
        lambda case: DepthFiles(str(case), suffix=".npy", kind="depth").read("a")[0],
        [*list(cuts())[:7], *kinds()],
    )
