import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmseg_domino.domain.images import DamagedImageError, list_images, read_image


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
    for tail in (b"\x00" * 100, b"maker's notes"):
        with (tmp_path / "a.jpg").open("ab") as file:
            file.write(tail)
        np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), expected)


def test_empty_and_foreign_files(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DamagedImageError, match="empty"):
        read_image(tmp_path / "empty.png")
    with pytest.raises(DamagedImageError, match="OpenCV"):
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
