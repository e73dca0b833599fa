"""Loading images and labels, with errors that name the file.

The host framework's loaders let some damaged files through: a truncated JPEG may decode to a
picture with a grey half, a 16-bit label wraps around at 256, a label painted in colours or of
another size fails far from its file, or not at all.
"""

import numpy as np
from mmcv import imfrombytes
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS

__all__ = ["LoadCheckedAnnotations", "LoadCheckedImage", "check_complete", "check_label_values"]

#: How far from its end a file may end its image; some cameras append a little of their own.
_TAIL = 4096


def check_complete(content: bytes, path: str) -> None:
    """Refuse an empty file, and a PNG or JPEG that breaks off.

    Args:
        content: The file's bytes.
        path: Its name, for the message.

    Raises:
        ValueError: If the file is empty, or lacks its format's end mark.
    """
    if not content:
        raise ValueError(f"{path} is empty (0 bytes); copy or download it again")
    end = None
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        end = b"IEND\xae\x42\x60\x82"
    elif content.startswith(b"\xff\xd8\xff"):
        end = b"\xff\xd9"
    if end is not None and end not in content[-_TAIL:]:
        raise ValueError(
            f"{path} is truncated: its {len(content)} bytes do not end the image; copy or "
            "download it again"
        )


def check_label_values(
    label: np.ndarray, allowed: np.ndarray, path: str, expected: str = ""
) -> None:
    """Refuse a label with values that mean no class.

    Args:
        label: ``(H, W)`` unsigned integers.
        allowed: ``(65536,)`` bool, true for values that may occur.
        path: Name of the file, for the message.
        expected: What the values should be, for the message.

    Raises:
        ValueError: If another value occurs; names the first few and their share of the pixels.
    """
    counts = np.bincount(label.ravel(), minlength=1)
    wrong = counts.nonzero()[0]
    wrong = wrong[~allowed[np.minimum(wrong, 65535)]]
    if len(wrong):
        share = 100 * counts[wrong].sum() / label.size
        some = ", ".join(map(str, wrong[:8])) + (", ..." if len(wrong) > 8 else "")
        raise ValueError(
            f"{path} holds label values out of range: {some} ({share:.2f} % of its pixels)"
            f"{'; expected ' + expected if expected else ''}. Are these labelIds or colours "
            "instead of trainIds? `domino data convert` makes trainIds."
        )


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """``LoadImageFromFile`` that never returns a damaged image.

    Arguments, required and added keys are those of ``LoadImageFromFile``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, truncated or not an image; names it.
    """

    def transform(self, results: dict) -> dict | None:
        """Load ``img``."""
        path = results["img_path"]
        try:
            content = fileio.get(path, backend_args=self.backend_args)
            check_complete(content, path)
            img = _decode(content, path, self.color_type, self.imdecode_backend)
        except Exception:
            if self.ignore_empty:
                return None
            raise
        results["img"] = img.astype(np.float32) if self.to_float32 else img
        results["img_shape"] = img.shape[:2]
        results["ori_shape"] = img.shape[:2]
        return results


def _decode(content: bytes, path: str, flag: str, backend: str) -> np.ndarray:
    """``imfrombytes`` with one kind of failure, which names the file."""
    try:
        img = imfrombytes(content, flag=flag, backend=backend)
    except Exception as error:  # each backend raises its own
        raise ValueError(f"{path} cannot be decoded as an image: {error}") from error
    if img is None:
        raise ValueError(f"{path} cannot be decoded as an image; copy or download it again")
    return img


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
        reduce_zero_label: As for ``LoadAnnotations``.
        backend_args: As for ``LoadAnnotations``.
        imdecode_backend: As for ``LoadAnnotations``.

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
        content = fileio.get(path, backend_args=self.backend_args)
        check_complete(content, path)
        label = _decode(content, path, "unchanged", self.imdecode_backend).squeeze()
        if label.ndim != 2:
            raise ValueError(
                f"{path} has shape {label.shape}: it is painted in colours, expected one value a "
                "pixel. `domino data convert` makes trainId labels."
            )
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
            raise ValueError(f"{path} holds {label.dtype} values; expected {expected}")
        check_label_values(label, allowed, path, expected)
        results["gt_seg_map"] = self._map(label.astype(np.uint8), reduce, results.get("label_map"))
        results["seg_fields"].append("gt_seg_map")

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
        if size is not None and tuple(size[:2]) != label.shape:
            raise ValueError(
                f"{results['seg_map_path']} is {label.shape[1]}x{label.shape[0]} pixels, its image "
                f"{results.get('img_path', '')} is {size[1]}x{size[0]}; is it another image's?"
            )

    def __repr__(self) -> str:
        return (
            f"LoadCheckedAnnotations(num_classes={self.num_classes}, "
            f"ignore_index={self.ignore_index}, unlabelled={self.unlabelled!r}, "
            f"reduce_zero_label={self.reduce_zero_label})"
        )
