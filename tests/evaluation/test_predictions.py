import zipfile

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from PIL import Image

from mmseg_domino.evaluation import DomainIoUMetric, PredictionWriter
from mmseg_domino.evaluation.predictions import (
    SUBMISSION_FORMATS,
    SubmissionError,
    SubmissionWriter,
)

from .samples import mixed, predicted, run

SIZE = (20, 24)
NAMES = {
    "acdc": "GOPR0{}_frame_000001_rgb_anon.png",
    "dark_zurich": "GOPR0{}_frame_000001_rgb_ref_anon_rgb_anon.png",
    "cityscapes": "berlin_00000{}_000019_leftImg8bit.png",
}


def samples(form, count=3):
    """Predicted samples without labels, named as the server's images."""
    result = []
    for i in range(count):
        sample = predicted("acdc/fog", i, labelled=False)
        sample.set_metainfo({"img_path": f"rgb_anon/fog/test/a/{NAMES[form].format(i)}"})
        result.append(sample)
    return result


def metric(form, folder, images=3, **kwargs):
    return DomainIoUMetric(
        format_only=True,
        output_dir=str(folder),
        submission=dict(format=form, images=images, size=SIZE),
        **kwargs,
    )


@pytest.mark.parametrize("form", list(SUBMISSION_FORMATS))
def test_writes_what_the_server_takes(tmp_path, form):
    predictions = samples(form)
    assert run(metric(form, tmp_path), predictions) == {}
    folder = SUBMISSION_FORMATS[form].folder
    with zipfile.ZipFile(tmp_path / f"{form}.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        for i, sample in enumerate(predictions):
            with archive.open(f"{folder}/{NAMES[form].format(i)}") as file:
                label = np.array(Image.open(file))
            train_ids = sample.pred_sem_seg.data[0].numpy()
            if form == "cityscapes":
                from_id = {7: 0, 8: 1, 11: 2, 26: 13, 33: 18}
                for label_id, train_id in from_id.items():
                    assert np.array_equal(label == label_id, train_ids == train_id)
            else:
                assert np.array_equal(label, train_ids)
            assert (label.dtype, label.shape) == (np.uint8, SIZE)
        if form == "dark_zurich":
            with archive.open(f"confidence/{NAMES[form].format(0)}") as file:
                assert (np.array(Image.open(file)) == 65535).all()
            invalid = archive.read(f"labelTrainIds_invalid/{NAMES[form].format(1)}")
            assert invalid == archive.read(f"labelTrainIds/{NAMES[form].format(1)}")
        assert len(names) == (9 if form == "dark_zurich" else 3)


def test_label_ids_are_the_official_ones():
    labels = pytest.importorskip(
        "cityscapesscripts.helpers.labels", reason="cityscapesscripts is not installed"
    )
    writer = SubmissionWriter("cityscapes", "unused")
    for train_id in range(19):
        assert writer._table[train_id] == labels.trainId2label[train_id].id


def test_equal_predictions_make_equal_archives(tmp_path):
    for run_name, order in (("a", 1), ("b", -1)):
        run(metric("acdc", tmp_path / run_name), samples("acdc")[::order])
    assert (tmp_path / "a/acdc.zip").read_bytes() == (tmp_path / "b/acdc.zip").read_bytes()


def test_an_incomplete_set_is_no_submission(tmp_path):
    with pytest.raises(SubmissionError, match=r"2 images were predicted, .* has 3; .*not written"):
        run(metric("acdc", tmp_path), samples("acdc", 2))
    assert not (tmp_path / "acdc.zip").exists()
    assert len(list((tmp_path / "acdc").rglob("*.png"))) == 2  # the work is kept


def test_the_servers_number_and_size_are_the_default():
    writer = SubmissionWriter("acdc", "unused")
    assert (writer.images, writer.size) == (2000, (1080, 1920))


def test_files_of_another_run_are_found(tmp_path):
    run(metric("acdc", tmp_path, images=4), samples("acdc", 4))
    with pytest.raises(SubmissionError, match=r"holds files of another run: .*GOPR03"):
        run(metric("acdc", tmp_path), samples("acdc", 3))


def test_a_file_that_disappeared_is_found(tmp_path):
    writer = SubmissionWriter("acdc", tmp_path, images=2, size=SIZE)
    names = [NAMES["acdc"].format(i) for i in range(2)]
    for name in names:
        writer.write(name, np.zeros(SIZE, np.uint8))
    (tmp_path / "acdc/labelTrainIds" / names[1]).unlink()
    with pytest.raises(SubmissionError, match=r"lacks \['GOPR01"):
        writer.finish(names)


def test_a_file_of_another_size_is_found(tmp_path):
    writer = SubmissionWriter("acdc", tmp_path, images=1, size=SIZE)
    path = writer.write(NAMES["acdc"].format(0), np.zeros(SIZE, np.uint8))
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(path)
    with pytest.raises(SubmissionError, match=r"is \(5, 5\) pixels"):
        writer.finish([path.name])


@pytest.mark.parametrize(
    ("name", "prediction", "message"),
    [
        ("a_leftImg8bit.png", np.zeros(SIZE, int), "no image of the acdc test set"),
        ("a_rgb_anon.png", np.zeros((5, 5), int), r"shape \(5, 5\), the acdc server takes"),
        ("a_rgb_anon.png", np.full(SIZE, 19), "values from 19 to 19, expected trainIds"),
    ],
)
def test_what_a_server_would_refuse_is_refused(tmp_path, name, prediction, message):
    writer = SubmissionWriter("acdc", tmp_path, size=SIZE)
    with pytest.raises(SubmissionError, match=message):
        writer.write(name, prediction)


def test_predictions_mirror_the_tree_below_the_nearest_image_folder(tmp_path):
    writer = PredictionWriter(tmp_path, ["data/x", "/d/images", "/d/images/val"])
    for image, name in (
        ("/d/images/val/a/1.jpg", "a/1.png"),
        ("/d/images/b/1.jpg", "b/1.png"),
        ("data/x/c.d/1.png", "c.d/1.png"),
        ("/d/images-2/1.jpg", "1.png"),
    ):
        path = writer.write("s/t", image, np.zeros((2, 2), int))
        assert path == tmp_path / "s/t" / name


def test_two_images_with_one_file_are_refused(tmp_path):
    writer = PredictionWriter(tmp_path, ["images"])
    writer.write("s/t", "images/a.png", np.zeros((2, 2), int))
    assert writer.path("s/u", "images/a.jpg") == tmp_path / "s/u/a.png"
    with pytest.raises(ValueError, match=r"images/a\.jpg and images/a\.png would both be"):
        writer.write("s/t", "images/a.jpg", np.ones((2, 2), int))


def test_two_images_of_one_name_are_refused(tmp_path):
    writer = SubmissionWriter("acdc", tmp_path, images=2, size=SIZE)
    for folder in "ab":
        writer.write(f"{folder}/x_rgb_anon.png", np.zeros(SIZE, int))
    with pytest.raises(SubmissionError, match=r"several images have the name x_rgb_anon.png"):
        writer.finish(["a/x_rgb_anon.png", "b/x_rgb_anon.png"])


def test_an_interrupted_submission_is_completed(tmp_path):
    predictions = samples("acdc")
    first = metric("acdc", tmp_path, journal=str(tmp_path / "journal"))
    first.dataset_meta = {"classes": tuple("abcdefghijklmnopqrs")}
    first.process({}, [predictions[0].to_dict()])
    again = metric("acdc", tmp_path, journal=dict(folder=str(tmp_path / "journal"), resume=True))
    again.dataset_meta = first.dataset_meta
    again.process({}, [s.to_dict() for s in predictions[1:]])
    again.evaluate(2)
    with zipfile.ZipFile(tmp_path / "acdc.zip") as archive:
        assert len(archive.namelist()) == 3


def test_plain_predictions_are_sorted_by_domain(tmp_path):
    samples = mixed(images=2)
    figures = run(DomainIoUMetric(output_dir=str(tmp_path)), samples)
    assert figures["mIoU"] > 0
    for sample in samples:
        path = tmp_path / sample.dataset / sample.domain / sample.img_path.split("/")[-1]
        assert np.array_equal(np.array(Image.open(path)), sample.pred_sem_seg.data[0].numpy())


def test_a_prediction_of_another_size_than_its_image_is_named(tmp_path):
    sample = predicted("acdc/fog", 0, labelled=False)
    sample.set_metainfo({"ori_shape": (40, 48)})
    with pytest.raises(ValueError, match=r"0000.png .*shape \(20, 24\), the image \(40, 48\)"):
        run(DomainIoUMetric(output_dir=str(tmp_path), format_only=True), [sample])


def test_colliding_names_are_refused(tmp_path):
    writer = PredictionWriter(tmp_path)
    writer.write("a/b", "x/0.png", np.zeros(SIZE, int))
    with pytest.raises(ValueError, match=r"y/0.jpg and x/0.png would both be written"):
        writer.write("a/b", "y/0.jpg", np.zeros(SIZE, int))


def test_predictions_of_a_model_with_one_logit(tmp_path):
    sample = predicted("acdc/fog", 0)
    binary = (sample.pred_sem_seg.data > 9).float()
    sample.pred_sem_seg = PixelData(data=binary)
    sample.gt_sem_seg = PixelData(data=binary.long())
    sample.seg_logits = PixelData(data=torch.zeros(1, *SIZE))
    assert run(DomainIoUMetric(), [sample])["mIoU"] == 100
