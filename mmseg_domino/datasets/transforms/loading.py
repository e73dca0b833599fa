"""Loading images and labels, with errors that name the file.

The host framework's loaders let some damaged files through: a JPEG with a hole decodes to a picture
with a grey part, a 16-bit label wraps around at 256, a label painted in colours or of another size
fails far from its file, or not at all.
"""

import logging

import numpy as np
from mmcv import imfrombytes
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmengine.logging import print_log
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS

from ...utils import printable
from ...utils.images import DamagedImageError, check_image, exif_orientation


def check_label_values(
    label: np.ndarray, allowed: np.ndarray, path: str, expected: str = ""
) -> None:
    """Refuse a label with values that mean no class.

    Args:
        label: ``(H, W)`` unsigned integers.
        allowed: ``(65536,)`` bool, true for values that may occur.
        path: Name of the file, for the message.
        expected: What the values should be, for the message.
    """
    counts = np.bincount(label.ravel(), minlength=1)
    wrong = counts.nonzero()[0]
    wrong = wrong[~allowed[np.minimum(wrong, 65535)]]
    if len(wrong):
        share = 100 * counts[wrong].sum() / label.size
        some = ", ".join(map(str, wrong[:8])) + (", ..." if len(wrong) > 8 else "")
        raise ValueError(
            f"{printable(path)} holds label values out of range: {some} "
            f"({share:.2f} % of its pixels)"
            f"{'; expected ' + expected if expected else ''}. Are these labelIds or colours "
            "instead of trainIds? `domino data convert` makes trainIds."
        )


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """``LoadImageFromFile`` that never returns a damaged image.

    Arguments, required and added keys are those of ``LoadImageFromFile``. Where the file's EXIF tag
    turned the picture, ``exif_orientation`` (2 to 8) is added. ``color_type=
    'color_ignore_orientation'`` leaves it as it is stored.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a whole image; names it.
    """

    def transform(self, results: dict) -> dict | None:
        """Load ``img``."""
        path = results["img_path"]
        try:
            content = fileio.get(path, backend_args=self.backend_args)
            img = _decode(content, path, self.color_type, self.imdecode_backend)
        except Exception:
            if self.ignore_empty:
                return None
            raise
        if self.color_type in ("color", "grayscale"):
            orientation = exif_orientation(content)
            if orientation > 1:
                results["exif_orientation"] = orientation
        results["img"] = img.astype(np.float32) if self.to_float32 else img
        results["img_shape"] = img.shape[:2]
        results["ori_shape"] = img.shape[:2]
        return results


def _decode(content: bytes, path: str, flag: str, backend: str) -> np.ndarray:
    """``imfrombytes`` with one kind of failure, which names the file."""
    check_image(content, path)
    try:
        img = imfrombytes(content, flag=flag, backend=backend)
    except Exception as error:  # each backend raises its own
        raise DamagedImageError(path, f"cannot be decoded as an image: {error}") from error
    if img is None:
        raise DamagedImageError(path, "cannot be decoded as an image; copy or download it again")
    return img


def exif_note(results: dict) -> str | None:
    """What to look at when an EXIF tag turned an image but not its label, sizes agreeing."""
    orientation = results.get("exif_orientation", 1)
    height, width = results["ori_shape"][:2]
    if orientation == 1 or (orientation > 4 and height != width):
        return None  # a label of the turned size was drawn on the turned picture
    return (
        f"{printable(results['img_path'])} is turned or mirrored by its EXIF tag (orientation "
        f"{orientation}), its label {printable(results['seg_map_path'])} is not: look whether "
        f"they agree. {_EXIF_REMEDY}"
    )


_EXIF_REMEDY = (
    "If the label was drawn on the pixels as stored, remove the tag from the file (exiftool "
    "-Orientation= FILE), or load with LoadCheckedImage(color_type='color_ignore_orientation')."
)


@TRANSFORMS.register_module()
class LoadCheckedAnnotations(LoadAnnotations):
    """``LoadAnnotations`` that checks what it loads.

    Required keys: ``seg_map_path``; ``ori_shape``, if the image was loaded before, which the
    label's size is checked against. Added keys: ``gt_seg_map`` uint8 ``(H, W)``.

    Args:
        num_classes: Number of classes of the label files (before any selection of classes by
            ``metainfo``): their values must be below it, or ``ignore_index``.
        ignore_index: Value of pixels without a class.
        unlabelled: What to do with a sample without a label file: ``'error'``, or ``'skip'`` to
            pass it on without a label, for prediction.
        reduce_zero_label, backend_args, imdecode_backend: As for ``LoadAnnotations``.

    Raises:
        FileNotFoundError: If the label file is missing.
        ValueError: If the label is truncated, has colour channels, another size than the image, or
            values that mean no class; names the file. If the sample has no label file, unless
            ``unlabelled='skip'``.
    """

    def __init__(
        self,
        num_classes: int = 19,
        ignore_index: int = 255,
        unlabelled: str = "error",
        reduce_zero_label: bool | None = None,
        backend_args: dict | None = None,
        imdecode_backend: str = "pillow",
    ) -> None:
        if unlabelled not in ("error", "skip"):
            raise ValueError(f"unlabelled must be 'error' or 'skip', got {unlabelled!r}")
        if not 0 < num_classes <= 255:
            raise ValueError(f"num_classes must be from 1 to 255, got {num_classes}")
        super().__init__(
            reduce_zero_label=reduce_zero_label,
            backend_args=backend_args,
            imdecode_backend=imdecode_backend,
        )
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.unlabelled = unlabelled
        self._told = False

    def transform(self, results: dict) -> dict:
        """Load ``gt_seg_map``; see the class."""
        if results.get("seg_map_path") is None:
            if self.unlabelled == "skip":
                return results
            raise ValueError(
                f"{results.get('img_path', 'an image')} has no label (a test split, or reference "
                "images?); it can be predicted, with LoadCheckedAnnotations(unlabelled='skip'), "
                "but neither trained on nor evaluated"
            )
        return super().transform(results)

    def _load_seg_map(self, results: dict) -> None:
        path = results["seg_map_path"]
        try:
            content = fileio.get(path, backend_args=self.backend_args)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}{self._convertible(path)}") from error
        label = _single_channel(_decode(content, path, "unchanged", self.imdecode_backend), path)
        self._check_size(label, results)
        reduce = self.reduce_zero_label
        if reduce is None:
            reduce = bool(results.get("reduce_zero_label", False))
        allowed = np.zeros(65536, dtype=bool)
        allowed[: self.num_classes + int(reduce)] = True
        allowed[self.ignore_index] = True
        # What the data set itself maps (its own void value, say) it knows of.
        allowed[list(results.get("label_map") or ())] = True
        expected = f"0 to {self.num_classes - 1 + int(reduce)} and {self.ignore_index}"
        if label.dtype.kind not in "bui" or (label.dtype.kind == "i" and label.min() < 0):
            raise ValueError(f"{printable(path)} holds {label.dtype} values; expected {expected}")
        check_label_values(label, allowed, path, expected)
        results["gt_seg_map"] = self._map(label.astype(np.uint8), reduce, results.get("label_map"))
        results["seg_fields"].append("gt_seg_map")
        note = exif_note(results) if "exif_orientation" in results else None
        if note is not None and not self._told:
            self._told = True
            print_log(f"{note} (Said once.)", logger="current", level=logging.WARNING)

    def _convertible(self, path: str) -> str:
        """What to do about a missing label whose original is there."""
        stem = path.removesuffix("_labelTrainIds.png")
        for original in () if stem == path else (f"{stem}_labelIds.png", f"{stem}.png"):
            if fileio.exists(original, backend_args=self.backend_args):
                return (
                    f". The original label {printable(original)} is there: make trainIds of all "
                    "of them with `domino data convert` (see docs/data.md)"
                )
        return ""

    def _map(self, label: np.ndarray, reduce: bool, label_map: dict | None) -> np.ndarray:
        """Values of the file to values of the classes in use, in one table look-up."""
        table = np.arange(256, dtype=np.uint8)
        if reduce:
            table[0] = self.ignore_index
            table[1:] = np.arange(255, dtype=np.uint8)
            table[self.ignore_index] = self.ignore_index
        if label_map:
            chosen = np.arange(256, dtype=np.uint8)
            for old, new in label_map.items():
                chosen[old] = new
            table = chosen[table]
        return table[label] if reduce or label_map else label

    @staticmethod
    def _check_size(label: np.ndarray, results: dict) -> None:
        size = results.get("ori_shape")
        if size is None or tuple(size[:2]) == label.shape:
            return
        turned = results.get("exif_orientation", 1) > 4 and tuple(size[1::-1]) == label.shape
        hint = (
            f"the image's EXIF tag (orientation {results['exif_orientation']}) turns it. "
            f"{_EXIF_REMEDY}"
            if turned
            else "is it another image's?"
        )
        raise ValueError(
            f"{printable(results['seg_map_path'])} is {label.shape[1]}x{label.shape[0]} pixels, "
            f"its image {printable(results.get('img_path', ''))} is {size[1]}x{size[0]}; {hint}"
        )

    def __repr__(self) -> str:
        return (
            f"LoadCheckedAnnotations(num_classes={self.num_classes}, "
            f"ignore_index={self.ignore_index}, unlabelled={self.unlabelled!r}, "
            f"reduce_zero_label={self.reduce_zero_label})"
        )


def _single_channel(label: np.ndarray, path: str) -> np.ndarray:
    """``(H, W)`` of a decoded label, or an error that says what it is instead."""
    if label.ndim == 3 and label.shape[2] == 1:
        label = label[:, :, 0]
    if label.ndim == 2:
        return label
    colours = label[:, :, : 3 if label.shape[2] > 2 else 1]
    if (colours == colours[:, :, :1]).all():
        raise ValueError(
            f"{printable(path)} has shape {label.shape}, all colour channels equal: it is a grey "
            "label that was saved as RGB. Save one channel of it: "
            "Image.open(path).getchannel(0).save(path)"
        )
    raise ValueError(
        f"{printable(path)} has shape {label.shape}: it is painted in colours, expected one value "
        "a pixel. `domino data convert` makes trainId labels."
    )
