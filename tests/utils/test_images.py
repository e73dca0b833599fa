import io
import os

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmseg_domino.utils.disk import DiskFullError
from mmseg_domino.utils.images import (
    DamagedImageError,
    check_image,
    exif_orientation,
    list_images,
    open_image,
    read_image,
    write_image,
)


@pytest.fixture
def photo():
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp"])
def test_pixels_are_the_hosts(tmp_path, photo, name):
    cv2.imwrite(str(tmp_path / name), photo)
    host = LoadImageFromFile()({"img_path": str(tmp_path / name)})["img"]
    np.testing.assert_array_equal(read_image(tmp_path / name), host[:, :, ::-1])


def test_grey_and_16_bit_images_become_rgb(tmp_path, photo):
    cv2.imwrite(str(tmp_path / "grey.png"), photo[:, :, 0])
    cv2.imwrite(str(tmp_path / "deep.png"), photo.astype(np.uint16) * 257)
    assert read_image(tmp_path / "grey.png").shape == photo.shape
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), photo[:, :, ::-1])


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.99])
def test_truncated_files_are_damaged(tmp_path, photo, name, keep):
    cv2.imwrite(str(tmp_path / name), photo)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DamagedImageError):
        read_image(tmp_path / name)


def test_flipped_bytes_in_a_png_are_damage(tmp_path, photo):
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DamagedImageError):
        read_image(tmp_path / "a.png")


def test_what_follows_a_whole_jpeg_is_no_damage(tmp_path, photo):
    cv2.imwrite(str(tmp_path / "a.jpg"), photo)
    expected = read_image(tmp_path / "a.jpg")
    for tail in (b"\x00" * 100, b"maker's notes", b"\0\0\0\x18ftypmp42" * 20_000):
        with (tmp_path / "a.jpg").open("ab") as file:
            file.write(tail)
        np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), expected)


def test_empty_and_foreign_files(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DamagedImageError, match="empty"):
        read_image(tmp_path / "empty.png")
    with pytest.raises(DamagedImageError, match="cannot be decoded"):
        read_image(tmp_path / "text.png")


def test_lists_images_below_a_folder(tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "a/x.txt", "0.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / name, format="PNG")
    assert list(list_images(tmp_path)) == ["0.webp", "b/1.jpg", "b/2.PNG"]
    with pytest.raises(FileNotFoundError, match="no images"):
        list_images(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="no folder"):
        list_images(tmp_path / "c")


def jpeg(photo, **options):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 4}, {"quality": 98}],
    ids=lambda o: next(iter(o), "plain"),
)
@pytest.mark.parametrize("place", [0.3, 0.6, 0.8])
def test_a_hole_in_a_jpeg_is_damage_though_its_end_is_intact(options, place):
    noise = np.random.default_rng(1).normal(0, 25, (360, 480, 3))
    image = np.clip(cv2.resize(np.eye(4, 5) * 200, (480, 360))[..., None] + noise, 0, 255)
    content = bytearray(jpeg(image.astype(np.uint8), **options))
    check_image(bytes(content), "whole.jpg")
    start = int(place * len(content))
    content[start : start + 4096] = bytes(4096)
    assert content.endswith(b"\xff\xd9")
    with pytest.raises(DamagedImageError, match=r"hole\.jpg is damaged \(libjpeg: "):
        check_image(bytes(content), "hole.jpg")


def test_flat_and_unusual_jpegs_are_whole(photo):
    flat = np.full((400, 400, 3), 7, np.uint8)
    for content in (
        jpeg(flat, optimize=True),  # its data are mostly zeros
        jpeg(flat[..., 0]),
        jpeg(photo[:1, :1]),
        jpeg(photo, subsampling=0),
        jpeg(photo)[:-2] + b"\0\0\0\xff\xd9",  # a few spare bytes, as some cameras leave them
    ):
        check_image(content, "a.jpg")
    buffer = io.BytesIO()
    Image.fromarray(photo).convert("CMYK").save(buffer, "JPEG")
    check_image(buffer.getvalue(), "cmyk.jpg")


@pytest.mark.parametrize("kind", ["BMP", "WEBP", "TIFF"])
def test_truncated_files_of_other_formats_are_damaged(photo, kind):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, kind)
    check_image(buffer.getvalue(), "a")
    with pytest.raises(DamagedImageError):
        check_image(buffer.getvalue()[: len(buffer.getvalue()) // 2], "a")


def test_images_above_pillows_limit_are_read(tmp_path, photo, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), photo)
        assert read_image(tmp_path / name).shape == photo.shape
    cv2.imwrite(str(tmp_path / "a.bmp"), photo)
    with pytest.raises(DamagedImageError, match=r"a\.bmp is too large for its format"):
        read_image(tmp_path / "a.bmp")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6])
def test_the_exif_tag_that_turns_an_image(photo, kind, orientation):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, kind, exif=exif)
    assert exif_orientation(buffer.getvalue()) == (orientation or 1)


def test_hidden_files_are_no_data_and_a_loop_is_met_once(tmp_path):
    names = ("fog/a.png", "fog/.ipynb_checkpoints/a-checkpoint.png", "fog/._a.png", "rain/b.png")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "again").symlink_to(".")
    (tmp_path / "fog/up").symlink_to(tmp_path)
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    (tmp_path / "snow").symlink_to(tmp_path / "rain")  # a second name, not a loop
    assert list(list_images(tmp_path)) == ["fog/a.png", "rain/b.png", "snow/b.png"]


def test_names_that_are_no_utf_8_are_read_and_can_be_printed(tmp_path, photo):
    name = os.fsdecode(b"caf\xe9.png")
    path = tmp_path / name
    path.write_bytes(b"")
    assert list(list_images(tmp_path)) == [name]
    with pytest.raises(DamagedImageError) as caught:
        read_image(path)
    assert "caf\\xe9.png is empty" in str(caught.value).encode().decode()
    write_image(path, photo)
    assert np.array_equal(read_image(path), photo)
    write_image(path, photo[..., 0])
    assert np.array_equal(np.asarray(Image.open(path)), photo[..., 0])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_what_is_written_is_read_as_it_was(tmp_path, photo, suffix):
    grey, deep = photo[..., 0], photo[..., 0].astype(np.uint16) * 200
    for array in (photo, grey) if suffix == ".bmp" else (photo, grey, deep):
        path = tmp_path / "new" / f"a{suffix}"
        write_image(path, array)
        assert np.array_equal(np.asarray(open_image(path)), array)
        assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_image_that_cannot_be_written_leaves_the_old_one(tmp_path, photo, monkeypatch):
    path = tmp_path / "a.png"
    write_image(path, photo)
    whole = path.read_bytes()

    def full(self, file, **options):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DiskFullError, match=rf"{tmp_path} ran full .*Make room"):
        write_image(path, photo)
    assert path.read_bytes() == whole
    assert os.listdir(tmp_path) == ["a.png"]


def test_opening_refuses_what_pillow_lets_through(tmp_path, photo):
    path = tmp_path / "a.png"
    write_image(path, photo[..., 0])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedImageError, match=r"a\.png is damaged: the checksum"):
        open_image(path)
