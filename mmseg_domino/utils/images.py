"""Finding images below a folder, and reading them: the one reader and the one lister of all rooms.

Shapes: ``H W`` an image's size.
"""

import io
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePath

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from .io import atomic_write
from .paths import printable

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")

_JPEG_START = b"\xff\xd8\xff"
_PNG_START = b"\x89PNG\r\n\x1a\n"
#: How libjpeg's warnings begin when pixels are lost; its other warnings are about metadata.
_JPEG_LOSS = ("Corrupt JPEG data", "Premature end")
#: Some encoders leave a few bytes before the end mark. Damage leaves hundreds.
_JPEG_SPARE = re.compile(r"([0-9]+) extraneous bytes before marker 0xd9")
_MAX_SPARE = 16
_ORIENTATION = 0x112


class DamagedImageError(ValueError):
    """A file that cannot be decoded whole."""

    def __init__(self, path: str | os.PathLike, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{printable(self.path)} {self.reason}"


def walk_files(folder: str | os.PathLike) -> Iterator[str]:
    """POSIX paths, relative to a folder, of all files below it, sorted.

    Links are followed; a link back to a folder that it lies in is not, so no file comes twice by a
    loop. Hidden files and folders (``.ipynb_checkpoints``, macOS's ``._a.png``) are no data.
    """
    yield from sorted(_walk(os.fspath(folder), "", ()))


def _walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/", (*above, here))
            elif entry.is_file():
                yield prefix + entry.name


def list_images(folder: str | os.PathLike) -> dict[str, Path]:
    """All images below a folder, by their POSIX path relative to it, sorted; see `walk_files`."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    found = {
        name: folder / name
        for name in walk_files(folder)
        if PurePath(name).suffix.lower() in IMAGE_SUFFIXES
    }
    if not found:
        raise FileNotFoundError(
            f"there are no images below {folder} (looked for {', '.join(IMAGE_SUFFIXES)})"
        )
    return found


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Decode an image to the same pixels as the host framework's ``LoadImageFromFile``.

    Returns:
        RGB ``(H, W, 3)`` uint8, 8-bit whatever the file's depth.
    """
    return decode_image(Path(path).read_bytes(), path)


def decode_image(content: bytes, name: str | os.PathLike) -> np.ndarray:
    """The same of a file's bytes; its name is for the message.

    Raises:
        DamagedImageError: If they are not a whole image.
    """
    check_image(content, name)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DamagedImageError(name, f"cannot be decoded as an image: {error}") from error
    if image is None:
        raise DamagedImageError(name, "cannot be decoded as an image; copy or download it again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def open_image(path: str | os.PathLike) -> Image.Image:
    """Pillow's image of a file, as it is stored: palette indices, 16 bits and all.

    Raises:
        DamagedImageError: If the file is not a whole image.
        FileNotFoundError: If there is no such file.
    """
    content = Path(path).read_bytes()
    check_image(content, path)
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except Exception as error:  # each of Pillow's formats raises its own
        raise DamagedImageError(path, f"cannot be decoded as an image ({error})") from error
    return image


def write_image(path: str | os.PathLike, image: np.ndarray, **options) -> None:
    """Write an image, whole or not at all, in the format that the path's suffix names.

    Args:
        path: The file to create or replace, and its folder if need be.
        image: RGB ``(H, W, 3)`` or grey or labels ``(H, W)``, uint8, or uint16 ``(H, W)``.
        **options: As for Pillow's ``save``; JPEGs have quality 95 by default, as OpenCV's.
    """
    if Path(path).suffix.lower() in (".jpg", ".jpeg"):
        options.setdefault("quality", 95)
    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary, **options)


def check_image(content: bytes, path: str | os.PathLike) -> None:
    """Refuse a file that is not a whole image, which decoders let through with a warning.

    OpenCV fills what is missing or damaged with grey and goes on. Whatever follows a whole image
    (padding, the film of a motion photo) is no damage.
    """
    if not content:
        raise DamagedImageError(path, "is empty (0 bytes); copy or download it again")
    if content.startswith(_JPEG_START):
        fault = _jpeg_fault(content)
    elif content.startswith(_PNG_START):
        fault = _png_fault(content)
    else:
        fault = _other_fault(content)
    if fault is not None:
        raise DamagedImageError(path, f"{fault}; copy or download it again")


def _jpeg_fault(content: bytes) -> str | None:
    try:
        space = simplejpeg.decode_jpeg_header(content)[2]
        # All data are decoded, yet only an eighth of the pixels in each direction are made.
        simplejpeg.decode_jpeg(
            content,
            "CMYK" if space in ("CMYK", "YCCK") else "GRAY",
            fastdct=True,
            min_height=1,
            min_width=1,
            min_factor=8,
        )
    except ValueError as error:
        reason = str(error)
        spare = _JPEG_SPARE.search(reason)
        if spare is not None and int(spare[1]) <= _MAX_SPARE:
            return None
        if not reason.startswith(_JPEG_LOSS):  # a kind of JPEG that this decoder does not know
            return _other_fault(content)
        truncated = reason.startswith("Premature") or b"\xff\xd9" not in content[-4096:]
        return f"is {'truncated' if truncated else 'damaged'} (libjpeg: {reason})"
    return None


def _png_fault(content: bytes) -> str | None:
    for kind, body, checksum in _png_chunks(content):
        if body is None or checksum is None:
            break
        if zlib.crc32(kind + body) != checksum:
            return f"is damaged: the checksum of its part {kind.decode('latin-1')} is wrong"
        if kind == b"IEND":
            return None
    return f"is truncated: its {len(content)} bytes do not end the image"


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, memoryview | None, int | None]]:
    view, place = memoryview(content), len(_PNG_START)
    while place + 8 <= len(content):
        end = place + 8 + int.from_bytes(view[place : place + 4], "big")
        kind = bytes(view[place + 4 : place + 8])
        if end + 4 > len(content):
            yield kind, None, None
            return
        yield kind, view[place + 8 : end], int.from_bytes(view[end : end + 4], "big")
        place = end + 4


def _other_fault(content: bytes) -> str | None:
    """Other formats are decoded by Pillow, which does not go on beyond damage."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except Image.DecompressionBombError as error:
        return f"is too large for its format to be checked ({error}); save it as PNG or JPEG"
    except Exception as error:  # each of Pillow's formats raises its own
        return f"cannot be decoded as an image ({error})"
    return None


def exif_orientation(content: bytes) -> int:
    """How a file's EXIF tag says that its picture is to be turned: 1 to 8, and 1 for not at all.

    2 to 4 keep the size (mirrored, half a turn), 5 to 8 exchange width and height. OpenCV and the
    host framework's loaders turn colour images so, and labels not.
    """
    start = content[: 1 << 16]
    exif = Image.Exif()
    try:
        if content.startswith(_PNG_START):
            for kind, body, _ in _png_chunks(start):
                if kind == b"eXIf" and body is not None:
                    exif.load(b"Exif\0\0" + bytes(body))
        elif content.startswith(_JPEG_START):
            place = start.find(b"Exif\0\0")
            if place >= 0:
                exif.load(start[place:])
        elif content.startswith(b"RIFF"):
            with Image.open(io.BytesIO(content)) as image:
                exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:  # a broken tag turns nothing
        return 1
    return orientation if orientation in range(1, 9) else 1
