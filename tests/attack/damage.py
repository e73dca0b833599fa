"""Ways to damage a file. A damage is its description and a function that is given the path."""

import gzip
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.payload import Payload

Damage = tuple[str, Callable[[Path], None]]


def flips(count: int, first: int | None = None) -> Iterator[Damage]:
    """Single flipped bits anywhere in a file; in its ``first`` bytes only, if given."""
    for number in range(count):

        def flip(path: Path, number: int = number) -> None:
            data = bytearray(path.read_bytes())
            end = min(first or len(data), len(data))
            place = int(np.random.default_rng([number, end]).integers(8 * end))
            data[place // 8] ^= 1 << place % 8
            path.write_bytes(data)

        yield f"flipped bit {number}{'' if first is None else ' of the header'}", flip


def _rewrite(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def cuts() -> Iterator[Damage]:
    """Files that a kill, a full disk or a broken copy left."""
    yield "empty", _rewrite(lambda d: b"")
    yield "first byte", _rewrite(lambda d: d[:1])
    for share in (0.1, 0.5, 0.9):
        yield f"first {share:.0%}", _rewrite(lambda d, s=share: d[: int(s * len(d))])
    yield "without the last byte", _rewrite(lambda d: d[:-1])
    yield "without the first byte", _rewrite(lambda d: d[1:])
    yield (
        "a block of zeros",
        _rewrite(
            lambda d: d[: len(d) // 3] + bytes(min(4096, len(d) // 3)) + d[len(d) // 3 + 4096 :]
        ),
    )
    yield "twice", _rewrite(lambda d: d + d)
    yield "all zeros", _rewrite(lambda d: bytes(len(d)))


def _png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(stream, "PNG")
    return stream.getvalue()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", "no pickle")
    return stream.getvalue()


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def kinds() -> Iterator[Damage]:
    """Files of another kind under the right name."""
    contents = {
        "a page of a download gone wrong": b"<!DOCTYPE html><body>404 not found</body>",
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "a PNG": _png(),
        "a gzip file": gzip.compress(b"{}"),
        "a zip file": _zip(),
        "a JSON list": b"[1, 2]",
        "an empty JSON object": b"{}",
        "deep JSON": b"[" * 100_000,
        "noise": np.random.default_rng(0).bytes(3000),
        "an empty safetensors file": (2).to_bytes(8, "little") + b"{}",
        "a huge safetensors header": (1 << 62).to_bytes(8, "little") + b"{}",
    }
    for name, content in contents.items():
        yield name, lambda path, c=content: path.write_bytes(c)
    yield "a folder", _instead(Path.mkdir)
    yield "a link to nothing", _instead(lambda path: path.symlink_to("nowhere"))
    yield "a link to itself", _instead(lambda path: path.symlink_to(path.name))


def kinds_but(name: str) -> list[Damage]:
    """The kinds of file that are not the target's own."""
    return [kind for kind in kinds() if kind[0] != name]


def payloads(sign: Path) -> Iterator[Damage]:
    """Files that, read carelessly, run code, which writes ``sign``."""

    def saved(content: object, **options) -> Callable[[Path], None]:
        return lambda path: torch.save(content, path, **options)

    def script(path: Path) -> None:
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))

    def inside(path: Path) -> None:
        content = torch.load(path, weights_only=False)
        content["meta"]["hook"] = Payload(sign)
        torch.save(content, path)

    bare = {"state_dict": {"w": torch.ones(1)}}
    yield "a payload beside the weights", inside
    yield "a payload as the whole", saved(Payload(sign))
    yield "a payload among the weights", saved({"state_dict": {"w": Payload(sign)}})
    yield (
        "a payload in the old format",
        saved({**bare, "meta": Payload(sign)}, _use_new_zipfile_serialization=False),
    )
    yield "a bare pickle", lambda path: path.write_bytes(_pickled(Payload(sign)))
    yield "a program", script


def _pickled(content: object) -> bytes:
    import pickle

    return pickle.dumps(content)


def swapped(name: str, other: Path) -> Damage:
    """Another file of the same kind in this one's place."""

    def swap(path: Path) -> None:
        shutil.copy(other, path)

    return name, swap


def edited(name: str, change: Callable[[dict], object]) -> Damage:
    """A JSON file with other values and everything else as it was."""

    def edit(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return name, edit


def weights(name: str, change: Callable[[dict], dict]) -> Damage:
    """A checkpoint with other weights."""

    def edit(path: Path) -> None:
        content = torch.load(path, weights_only=False)
        content["state_dict"] = change(content["state_dict"])
        torch.save(content, path)

    return name, edit


def gone(path: Path) -> None:
    """The file is missing."""
    os.remove(path)
