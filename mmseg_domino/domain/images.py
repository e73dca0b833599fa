"""Finding images below a folder, and decoding them as the host framework does.

Shapes: ``H W`` an image's size.
"""

import io
import os
from pathlib import Path, PurePath

import cv2
import numpy as np
from PIL import Image

__all__ = ["IMAGE_SUFFIXES", "DamagedImageError", "list_images", "read_image"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"


class DamagedImageError(ValueError):
    """A file that cannot be decoded whole."""


def list_images(folder: str | os.PathLike) -> dict[str, Path]:
    """All images below a folder, by their POSIX path relative to it, sorted.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    found = {}
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in names:
            path = Path(parent, name)
            if path.suffix.lower() in IMAGE_SUFFIXES:
                found[PurePath(path.relative_to(folder)).as_posix()] = path
    if not found:
        raise FileNotFoundError(
            f"there are no images below {folder} (looked for {', '.join(IMAGE_SUFFIXES)})"
        )
    return dict(sorted(found.items()))


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Decode an image to the same pixels as the host framework's ``LoadImageFromFile``.

    OpenCV fills the missing part of a truncated file with grey and only prints a warning, so the
    file's end is looked at first.

    Returns:
        RGB ``(H, W, 3)`` uint8, 8-bit whatever the file's depth.

    Raises:
        DamagedImageError: If the file is empty, truncated or not an image.
        FileNotFoundError: If there is no such file.
    """
    data = Path(path).read_bytes()
    if not data:
        raise DamagedImageError("the file is empty")
    reason = _fault(data)
    if reason is not None:
        raise DamagedImageError(reason)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DamagedImageError("OpenCV cannot decode it")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _fault(data: bytes) -> str | None:
    """What is wrong with a JPEG or PNG file, without decoding it if all is well."""
    whole = True
    if data.startswith(_JPEG_START):
        # Some cameras pad the file after the end marker.
        whole = data.rstrip(b"\x00\r\n ").endswith(_JPEG_END)
    elif data.startswith(_PNG_START):
        try:
            Image.open(io.BytesIO(data)).verify()  # every chunk's checksum, up to the last
        except (OSError, SyntaxError, ValueError) as error:
            return str(error)
    if whole:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError) as error:
        return str(error)
    return None
