import io

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmseg_domino.datasets import LoadCheckedAnnotations, LoadCheckedImage
from mmseg_domino.datasets.transforms.loading import exif_note

SIZE = (24, 32)


@pytest.fixture
def label():
    return np.random.default_rng(0).choice([*range(19), 255], SIZE).astype(np.uint8)


def write(path, array):
    Image.fromarray(array).save(path)
    return str(path)


def sample(path, **extra):
    return {"seg_map_path": path, "seg_fields": [], "reduce_zero_label": False, **extra}


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_loads_what_stock_loads(tmp_path, suffix):
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    path = write(tmp_path / f"image.{suffix}", image)
    result = LoadCheckedImage()({"img_path": path})
    assert result["ori_shape"] == result["img_shape"] == SIZE
    if suffix == "png":
        assert np.array_equal(result["img"], image[:, :, ::-1])


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("keep", [0, 30, 0.5, -20])
def test_a_broken_image_is_named(tmp_path, suffix, keep):
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    path = tmp_path / f"image.{suffix}"
    write(path, image)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(
        ValueError, match=f"image.{suffix} (is truncated|is empty|cannot be decoded)"
    ):
        LoadCheckedImage()({"img_path": str(path)})


@pytest.mark.parametrize("content", [b"no image at all", b"\x89PNG\r\n\x1a\nIEND\xae\x42\x60\x82"])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"image.png (cannot be decoded|is truncated)"):
        LoadCheckedImage()({"img_path": str(path)})
    assert LoadCheckedImage(ignore_empty=True)({"img_path": str(path)}) is None


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.png"):
        LoadCheckedImage()({"img_path": str(tmp_path / "none.png")})


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"label_map": {**dict.fromkeys(range(19), 255), 3: 0, 13: 1}},
        {"reduce_zero_label": True},
        {"reduce_zero_label": True, "label_map": {0: 5, 5: 0, 7: 255}},
    ],
)
def test_loads_the_label_that_stock_loads(tmp_path, label, extra):
    path = write(tmp_path / "label.png", label)
    ours = LoadCheckedAnnotations()(sample(path, ori_shape=SIZE, **extra))
    stock = LoadAnnotations()(sample(path, **extra))
    assert np.array_equal(ours["gt_seg_map"], stock["gt_seg_map"])
    assert ours["gt_seg_map"].dtype == np.uint8
    assert ours["seg_fields"] == ["gt_seg_map"]


def test_a_label_of_another_size_is_named(tmp_path, label):
    path = write(tmp_path / "label.png", label[:20])
    with pytest.raises(ValueError, match=r"label.png is 32x20 pixels, its image .* is 32x24"):
        LoadCheckedAnnotations()(sample(path, ori_shape=SIZE))


def test_the_labels_size_is_checked_against_the_file_not_the_resized_image(tmp_path, label):
    path = write(tmp_path / "label.png", label)
    resized = sample(path, ori_shape=SIZE, img_shape=(48, 64))
    assert LoadCheckedAnnotations()(resized)["gt_seg_map"].shape == SIZE


def test_values_out_of_range_are_named(tmp_path, label):
    label[0, :2] = (19, 33)
    path = write(tmp_path / "label.png", label)
    with pytest.raises(ValueError, match=r"label.png holds label values out of range: 19, 33"):
        LoadCheckedAnnotations()(sample(path))
    assert LoadCheckedAnnotations(num_classes=34)(sample(path))["gt_seg_map"][0, 1] == 33


def test_a_16_bit_label_does_not_wrap_around(tmp_path, label):
    wide = label.astype(np.uint16)
    wide[0, 0] = 256 + 3
    path = write(tmp_path / "label.png", wide)
    assert LoadAnnotations()(sample(path))["gt_seg_map"][0, 0] == 3  # what is guarded against
    with pytest.raises(ValueError, match=r"out of range: 259 "):
        LoadCheckedAnnotations()(sample(path))


def test_a_label_painted_in_colours_is_named(tmp_path, label):
    path = write(tmp_path / "label.png", np.stack([label, label, 255 - label], axis=-1))
    with pytest.raises(ValueError, match=r"label.png has shape .*painted in colours"):
        LoadCheckedAnnotations()(sample(path))


@pytest.mark.parametrize("channels", [3, 4])
def test_a_grey_label_saved_as_rgb_is_said_to_be_that(tmp_path, label, channels):
    alpha = [np.full_like(label, 255)] * (channels - 3)
    path = write(tmp_path / "label.png", np.stack([label] * 3 + alpha, axis=-1))
    with pytest.raises(
        ValueError, match=r"label.png has shape .* grey label that was saved as RGB"
    ):
        LoadCheckedAnnotations()(sample(path))


@pytest.mark.parametrize("shape", [(1, 32), (24, 1), (1, 1)])
def test_labels_of_one_row_or_column_are_labels(tmp_path, label, shape):
    label = label[: shape[0], : shape[1]]
    path = write(tmp_path / "label.png", label)
    loaded = LoadCheckedAnnotations()(sample(path, ori_shape=shape))["gt_seg_map"]
    assert np.array_equal(loaded, label)


def load_pair(tmp_path, label, orientation, **options):
    """An image with an EXIF tag, and its label, through both loaders."""
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "image.jpg", exif=exif)
    path = write(tmp_path / "label.png", label)
    results = LoadCheckedImage(**options)({"img_path": str(tmp_path / "image.jpg")})
    return LoadCheckedAnnotations()(sample(path, **results))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_an_image_that_exif_turns_away_from_its_label_is_said_to_be_that(
    tmp_path, label, orientation
):
    with pytest.raises(ValueError, match=rf"EXIF tag \(orientation {orientation}\) turns it"):
        load_pair(tmp_path, label, orientation)
    stored = load_pair(tmp_path, label, orientation, color_type="color_ignore_orientation")
    assert stored["img"].shape[:2] == stored["gt_seg_map"].shape
    turned = load_pair(tmp_path, np.ascontiguousarray(label.T), orientation)
    assert exif_note(turned) is None


@pytest.mark.parametrize(("orientation", "told"), [(1, False), (2, True), (3, True), (4, True)])
def test_half_a_turn_keeps_the_size_and_is_said(tmp_path, label, orientation, told):
    note = exif_note(load_pair(tmp_path, label, orientation))
    assert (note is not None) == told
    assert (
        note is None
        or f"image.jpg is turned or mirrored by its EXIF tag (orientation {orientation})" in note
    )


def test_a_grey_rendering_of_colours_is_named(tmp_path):
    path = write(tmp_path / "label.png", np.full(SIZE, 84, np.uint8))  # grey of road's colour
    with pytest.raises(ValueError, match=r"out of range: 84 \(100.00 % of its pixels\)"):
        LoadCheckedAnnotations()(sample(path))


def test_a_palette_label_is_read_by_index(tmp_path, label):
    image = Image.frombytes("P", SIZE[::-1], label.tobytes())
    image.putpalette([i for i in range(256) for _ in range(3)])
    image.save(tmp_path / "label.png")
    loaded = LoadCheckedAnnotations()(sample(str(tmp_path / "label.png")))
    assert np.array_equal(loaded["gt_seg_map"], label)


def test_a_truncated_label_is_named(tmp_path, label):
    buffer = io.BytesIO()
    Image.fromarray(label).save(buffer, "PNG")
    path = tmp_path / "label.png"
    path.write_bytes(buffer.getvalue()[:-30])
    with pytest.raises(ValueError, match=r"label.png is truncated"):
        LoadCheckedAnnotations()(sample(str(path)))


def test_a_missing_label_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.png"):
        LoadCheckedAnnotations()(sample(str(tmp_path / "none.png")))


@pytest.mark.parametrize("original", ["a_labelIds.png", "a.png"])
def test_a_label_that_can_be_converted_is_said_to_be_there(tmp_path, label, original):
    write(tmp_path / original, label)
    with pytest.raises(FileNotFoundError, match=rf"{original} is there.*domino data convert"):
        LoadCheckedAnnotations()(sample(str(tmp_path / "a_labelTrainIds.png")))


@pytest.mark.parametrize("arguments", [{"num_classes": 0}, {"unlabelled": "ignore"}])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        LoadCheckedAnnotations(**arguments)
