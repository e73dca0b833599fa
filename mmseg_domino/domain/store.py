"""The embedding store: image and text embeddings of a data set in one safetensors file.

Tensors: ``image`` ``(M, E)`` float32 of norm 1, ``text_joint`` ``(K, E)``, ``text_context``
``(K, D)``, ``logit_scale`` ``()``. The file's metadata entry ``mmseg_domino`` is JSON: ``sha256``,
the checksum of all else; ``format``,
``keys`` (the ``M`` image paths relative to the data root, POSIX, sorted), ``domains`` (the ``K``
domain keys) and ``provenance`` (what the values depend on). Every kind of embedding is derived from
these when loaded, so one store serves all sources and both spaces.

Shapes: ``M`` images, ``K`` domains, ``E`` width of the joint space, ``D`` of the context space.
"""

import itertools
import json
import os
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..utils.tensors import checksum, write_tensors
from .maker import check_made_by
from .sources import DomainText, prototype_table

FORMAT = "mmseg_domino.embeddings/2"
#: How far the norm of an image's or a text's joint embedding may be from 1.
_NORM_TOLERANCE = 1e-2
#: Norms of context embeddings; CLIP's are 10 to 40.
_CONTEXT_NORMS = (1e-3, 1e4)


class MissingEmbeddingError(KeyError):
    """A store lacks an image."""

    def __str__(self) -> str:
        # KeyError would print the message's line breaks as \\n.
        return str(self.args[0])


def write_store(
    path: str | os.PathLike,
    keys: Sequence[str],
    image: Tensor,
    text: DomainText,
    provenance: Mapping,
) -> None:
    """Write a store in one step: readers see the old file or the whole new one.

    Equal arguments give equal bytes, in whatever order the images come.

    Args:
        path: The file, with suffix ``.safetensors``.
        keys: ``M`` image paths relative to the data root, POSIX, each once.
        image: ``(M, E)`` of norm 1.
        text: The text side of the bank.
        provenance: JSON values; see ``DomainEncoder.provenance``.

    Raises:
        ValueError: If keys repeat, the numbers of keys and rows differ, values are not finite or
            norms are not those of embeddings.
    """
    if len(keys) != len(image):
        raise ValueError(f"{len(keys)} image paths but {len(image)} embeddings")
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ordered = [keys[i] for i in order]
    twice = [a for a, b in itertools.pairwise(ordered) if a == b]
    if twice:
        raise ValueError(f"{len(twice)} image paths come more than once, the first: {twice[0]}")
    finite = image.isfinite().all(dim=1)
    if not finite.all():
        bad = [keys[i] for i in (~finite).nonzero().flatten().tolist()]
        raise ValueError(
            f"the embeddings of {len(bad)} images hold NaN or infinite values: "
            f"{', '.join(bad[:5])}. Use precision 'fp32' or 'bf16'."
        )
    header = {
        "format": FORMAT,
        "keys": ordered,
        "domains": list(text.keys),
        "provenance": dict(provenance),
    }
    tensors = {
        "image": image[order].float().contiguous(),
        "text_joint": text.joint.contiguous(),
        "text_context": text.context.contiguous(),
        "logit_scale": torch.tensor(text.logit_scale, dtype=torch.float32),
    }
    _check_norms(keys, image, text)
    write_tensors(path, tensors, header)


def _check_norms(keys: Sequence[str], image: Tensor, text: DomainText) -> None:
    """Refuse what no encoder gives: a zero or absurdly long embedding."""
    low, high = _CONTEXT_NORMS
    unit = (1 - _NORM_TOLERANCE, 1 + _NORM_TOLERANCE)
    for what, names, table, (least, most) in (
        ("image", keys, image, unit),
        ("joint text", text.keys, text.joint, unit),
        ("context text", text.keys, text.context, (low, high)),
    ):
        norms = table.float().norm(dim=1)
        wrong = (~((norms >= least) & (norms <= most))).nonzero().flatten().tolist()
        if wrong:
            raise ValueError(
                f"the {what} embeddings of {len(wrong)} of {len(names)} have an impossible norm, "
                f"the first {names[wrong[0]]}: {float(norms[wrong[0]]):.4g}, expected "
                f"{least:g} to {most:g}"
            )
    if not 0 < text.logit_scale < 1e4:
        raise ValueError(f"the inverse temperature is {text.logit_scale:.4g}, expected about 100")


#: Size and time of change of the stores that were found whole: once a process and its children.
_whole: set[tuple[str, int, int]] = set()


def _check_whole(path: Path, header: dict, file: object, text: DomainText) -> None:
    status = path.stat()
    seen = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if seen in _whole:
        return
    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    described = json.dumps({k: v for k, v in header.items() if k != "sha256"}, sort_keys=True)
    if header.get("sha256") != checksum(described, tensors):
        raise ValueError("its checksum is wrong, so it is damaged; delete it and extract again")
    _check_norms(header["keys"], tensors["image"], text)
    _whole.add(seen)


class EmbeddingStore:
    """A store opened for reading; rows are read from the file as they are asked for.

    Use :meth:`open`. The text embeddings and the keys are in memory, the images are not, so that
    many worker processes can hold one.
    """

    def __init__(self, path: Path, header: Mapping, text: DomainText, file: object) -> None:
        self.path = path
        self.keys: tuple[str, ...] = tuple(header["keys"])
        self.provenance: dict = header["provenance"]
        self.text = text
        self._file = file
        self._rows = {key: row for row, key in enumerate(self.keys)}
        self._by_name: dict[str, list[str]] | None = None

    @classmethod
    def open(cls, path: str | os.PathLike) -> "EmbeddingStore":
        """Open a store.

        Raises:
            FileNotFoundError: If there is no such file; the message says how to make it.
            ValueError: If the file is not an embedding store, or is damaged.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no embedding store {path}. Make it with\n"
                f"    domino domains extract CONFIG_OR_FOLDER --bank acdc "
                f"--out {shlex.quote(str(path))}"
            )
        try:
            file = safe_open(path, "pt")
            header = json.loads((file.metadata() or {})["mmseg_domino"])
            if header["format"] != FORMAT:
                raise ValueError(f"its format is {header['format']!r}; extract again")
            text = DomainText(
                tuple(header["domains"]),
                file.get_tensor("text_joint"),
                file.get_tensor("text_context"),
                float(file.get_tensor("logit_scale")),
            )
            rows = file.get_slice("image").get_shape()[0]
            if rows != len(header["keys"]):
                raise ValueError(f"it has {len(header['keys'])} image paths but {rows} embeddings")
            _check_whole(path, header, file, text)
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is not a store of format {FORMAT}: {error}") from error
        return cls(path, header, text, file)

    def __len__(self) -> int:
        return len(self.keys)

    def check_encoder(self, encoder: Mapping) -> None:
        """Refuse to be used with another encoder than it was made with.

        Raises:
            ValueError: Naming each difference in model, weights, precision or prompt bank.
        """
        check_made_by(self.provenance, encoder, f"the store {self.path}")

    def find(self, image_path: str | os.PathLike, root: str | os.PathLike | None = None) -> int:
        """The row of an image.

        The longest key that ends the path, in whole components, is its key: so a data set may be
        moved, and ``data/cityscapes/leftImg8bit/val/a.png`` finds ``leftImg8bit/val/a.png``. A path
        that is shorter than its key must end exactly one key.

        Args:
            image_path: The path as the data set gives it.
            root: The data root; the path relative to it must then be a key.

        Raises:
            MissingEmbeddingError: A ``KeyError``, if the store lacks the image; the message names
                what is missing around it and the command that adds it.
            ValueError: If several keys fit.
        """
        row = self._row(image_path, root)
        if row is None:
            raise MissingEmbeddingError(self._lacks(image_path, root))
        return row

    def has(self, image_path: str | os.PathLike, root: str | os.PathLike | None = None) -> bool:
        """Whether :meth:`find` finds an image."""
        return self._row(image_path, root) is not None

    def _row(self, image_path: str | os.PathLike, root: str | os.PathLike | None) -> int | None:
        if root is not None:
            return self._rows.get(PurePath(os.path.relpath(image_path, root)).as_posix())
        parts = PurePosixPath(PurePath(image_path).as_posix()).parts
        for first in range(len(parts)):
            row = self._rows.get("/".join(parts[first:]))
            if row is not None:
                return row
        longer = self._longer_keys(parts)
        if len(longer) > 1:
            raise ValueError(
                f"{image_path} fits {len(longer)} images of the store {self.path}: "
                f"{', '.join(longer[:3])}. Give a longer path, or `root`."
            )
        return self._rows[longer[0]] if longer else None

    def _longer_keys(self, parts: Sequence[str]) -> list[str]:
        if self._by_name is None:
            self._by_name = defaultdict(list)
            for key in self.keys:
                self._by_name[key.rpartition("/")[2]].append(key)
        ending = "/" + "/".join(parts)
        return [key for key in self._by_name.get(parts[-1], ()) if key.endswith(ending)]

    def image(self, row: int) -> Tensor:
        """The joint image embedding ``(E,)`` of a row.

        Raises:
            ValueError: If it holds NaN or infinite values.
        """
        embedding = self._file.get_slice("image")[row : row + 1][0]
        if not embedding.isfinite().all():
            raise ValueError(
                f"the embedding of {self.keys[row]} in {self.path} holds NaN or infinite values; "
                "delete the store and extract again"
            )
        return embedding

    def images(self) -> Tensor:
        """All joint image embeddings ``(M, E)``, in the order of ``keys``."""
        return self._file.get_tensor("image")

    def command_to_add(self, images: str | os.PathLike) -> str:
        """The command line that adds a folder's or config's images to this store."""
        made = self.provenance
        words = ["domino", "domains", "extract", str(images)]
        words += ["--bank", str(made.get("bank")), "--model", str(made.get("model"))]
        if made.get("pretrained"):
            words += ["--pretrained", made["pretrained"]]
        return shlex.join([*words, "--out", str(self.path)])

    def _lacks(self, image_path: str | os.PathLike, root: str | os.PathLike | None) -> str:
        """Say what is missing in the image's whole folder, so that one run adds all of it."""
        image_path = Path(image_path)
        lacking = [str(image_path)]
        if image_path.is_file():
            beside = sorted(image_path.parent.glob(f"[!.]*{image_path.suffix}"))
            lacking = [str(path) for path in beside if not self.has(path, root)]
        return (
            f"the store {self.path} ({len(self)} images, such as {', '.join(self.keys[:2])}) lacks "
            f"{len(lacking)} of the images in {image_path.parent}: {', '.join(lacking[:3])}"
            f"{', ...' if len(lacking) > 3 else ''}. Add them (their path from the data root on, "
            "as above, must stay the same) with\n"
            f"    {self.command_to_add(root or 'CONFIG_OR_DATA_ROOT')}"
        )


def load_prototypes(stores: str | Mapping[str, str] | None) -> Tensor | None:
    """The prototypes of one store of examples, or of several, one each.

    Returns:
        ``(P, E)`` of norm 1, or ``None``.
    """
    if not stores:
        return None
    paths = [stores] if isinstance(stores, str | os.PathLike) else list(stores.values())
    return prototype_table([EmbeddingStore.open(path).images() for path in paths])
