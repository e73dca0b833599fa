"""AP by domain, held to pycocotools."""

import contextlib
import copy
import io

import numpy as np
import pytest

pytest.importorskip("mmdet")

from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmseg_domino.detection import DomainDetectionMetric
from mmseg_domino.metrics import ResultsError, is_detection, load_detection_results, load_results
from mmseg_domino.metrics.average_precision import resample
from mmseg_domino.reporting import detection_table
from mmseg_domino.reporting.detection_tables import detection_class_table

from .detections import CLASSES, samples


def metric(**options):
    built = DomainDetectionMetric(metric=["bbox", "segm"], source="acdc/fog", **options)
    built.dataset_meta = dict(classes=CLASSES)
    return built


def measured(data, batches=5, **options):
    built = metric(**options)
    for start in range(0, len(data), batches):
        built.process({}, copy.deepcopy(data[start : start + batches]))
    return built, built.evaluate(len(data))


def oracle(data, kind):
    """What pycocotools says of these images: AP, AP50, AP75, percent."""
    truth = dict(images=[], annotations=[], categories=[dict(id=i) for i in range(len(CLASSES))])
    found = []
    for number, sample in enumerate(data):
        truth["images"].append(dict(id=number, height=40, width=60))
        for item in sample["instances"]:
            x1, y1, x2, y2 = item["bbox"]
            truth["annotations"].append(dict(
                id=len(truth["annotations"]) + 1, image_id=number, category_id=item["bbox_label"],
                bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1),
                segmentation=item["mask"], iscrowd=item["ignore_flag"],
            ))  # fmt: skip
        pred = sample["pred_instances"]
        columns = (pred[k].numpy() for k in ("bboxes", "scores", "labels", "masks"))
        for box, score, label, mask in zip(*columns, strict=True):
            x1, y1, x2, y2 = map(float, box)
            rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
            shape = dict(bbox=[x1, y1, x2 - x1, y2 - y1]) if kind == "bbox" else {}
            found.append(dict(image_id=number, category_id=int(label), score=float(score),
                              **(shape or dict(segmentation=rle))))  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return dict(zip(("AP", "AP50", "AP75"), 100 * judge.stats[:3], strict=True))


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_each_domain_is_pycocotools_figure(kind):
    data = samples()
    order = np.random.default_rng(1).permutation(len(data))  # batches mix the domains
    _, figures = measured([data[i] for i in order])
    for domain in ("fog", "night"):
        wanted = oracle([s for s in data if s["domain"] == domain], kind)
        for name, value in wanted.items():
            assert value > 0
            assert figures[f"acdc/{domain}/{kind}_{name}"] == pytest.approx(value, abs=1e-6)
    relative = 100 * figures[f"acdc/night/{kind}_AP"] / figures[f"acdc/fog/{kind}_AP"]
    assert figures[f"acdc/night/relative_{kind}_AP"] == pytest.approx(relative)
    # COCO sorts images by number: the domains one after the other, as here
    assert 100 * figures[f"{kind}_mAP"] == pytest.approx(oracle(data, kind)["AP"], abs=1e-6)


def test_a_resample_is_pycocotools_figure_of_the_images_drawn():
    data = samples(6, domains=("fog",))
    built, _ = measured(data, intervals=True)
    results = built.last_results
    matches = results.matches["acdc/fog"]["bbox"]
    from mmseg_domino.metrics.average_precision import average_precision, mean_precisions

    weights = resample("acdc/fog", 6, 3)
    drawn = [[s for s, n in zip(data, row, strict=True) for _ in range(n)] for row in weights]
    ours = mean_precisions(average_precision(matches, weights))["AP"]
    for value, images in zip(ours, drawn, strict=True):
        assert value == pytest.approx(oracle(images, "bbox")["AP"], abs=1e-6)
    interval = results.figures["acdc/fog/bbox_AP"].interval
    assert 0 <= interval[0] <= results.figures["acdc/fog/bbox_AP"].value <= interval[1] <= 100
    assert results.measured["acdc/fog/bbox_AP"].left_out["acdc/fog"].shape == (6,)


def test_images_that_come_twice_count_once_and_order_is_nothing():
    data = samples(5)
    once, twice = measured(data)[1], measured([*data, *data[:3]][::-1], batches=4)[1]
    assert once.keys() == twice.keys()
    for name, value in once.items():
        assert twice[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_results_are_written_checked_and_shown(tmp_path):
    file = tmp_path / "results.json"
    built, figures = measured(samples(), results_file=str(file), run=dict(name="mine"))
    assert is_detection(tmp_path)
    read = load_detection_results(tmp_path)
    for name, figure in built.last_results.figures.items():
        assert read.figures[name].value == pytest.approx(figure.value, nan_ok=True)
        assert read.figures[name].interval == figure.interval
    assert read.measured.keys() == built.last_results.measured.keys()
    table = detection_table(read)
    assert [row[0] for row in table.rows] == ["acdc/night", "acdc/fog"]
    assert f"{figures['acdc/night/bbox_AP']:.2f}" in table.text()
    assert detection_class_table(read, "segm").rows[2][0] == "bus"
    with pytest.raises(ResultsError, match="detection_results"):
        load_results(tmp_path)
    text = file.read_text().replace('"num_images": 12', '"num_images": 13')
    file.write_text(text)
    with pytest.raises(ResultsError, match="checksum"):
        load_detection_results(tmp_path)


def test_corruptions_have_mpc_and_rpc():
    data = samples(4, domains=("fog", "snow_1", "snow_2"))
    for s in data:
        s["dataset"] = "cityscapes" if s["domain"] == "fog" else "cityscapes_c"
    built = DomainDetectionMetric(source="cityscapes/fog", intervals=False)
    built.dataset_meta = dict(classes=CLASSES)
    built.process({}, data)
    figures = built.evaluate(len(data))
    mean = np.mean([figures[f"cityscapes_c/snow_{i}/bbox_AP"] for i in (1, 2)])
    assert figures["cityscapes_c/mPC_bbox"] == pytest.approx(mean)
    assert figures["cityscapes_c/rPC_bbox"] == pytest.approx(
        100 * mean / figures["cityscapes/fog/bbox_AP"]
    )


def break_it(how, sample):
    found = sample["pred_instances"]
    if how == "nan":
        found["bboxes"][0] = float("nan")
    elif how == "class":
        found["labels"][0] = 3
    elif how == "truth":
        del sample["instances"]
    elif how == "mask":
        sample["instances"][0]["mask"] = [[1, 1, 2, 2]]
    elif how == "size":
        sample["instances"][0]["mask"] = dict(size=[3, 3], counts=[9])
    elif how == "domain":
        del sample["domain"]
    elif how == "masks":
        del found["masks"]


@pytest.mark.parametrize(
    ("how", "message"),
    {"nan": "NaN", "class": "num_classes", "truth": "truth=True", "mask": "three corners",
     "size": "of size", "domain": "SetDomain", "masks": "no masks"}.items(),
)  # fmt: skip
def test_bad_samples_are_refused_by_name(how, message):
    data = samples(2)
    break_it(how, data[0])
    with pytest.raises(ValueError, match=message) as caught:
        metric().process({}, data)
    assert "fog/000.png" in str(caught.value)


def test_only_images_without_objects_are_no_result():
    data = samples(5, domains=("fog",))[3:4]
    built = metric()
    built.process({}, data)
    with pytest.raises(ValueError, match="nothing was evaluated"):
        built.evaluate(1)
    with pytest.raises(ValueError, match="metric must be of"):
        DomainDetectionMetric(metric="proposal")


def test_polygons_beyond_the_image_are_cut_off():
    from mmseg_domino.detection.matching import encode_truth

    area = coco_mask.area(encode_truth([[-10, -10, 20, -10, 20, 20, -10, 20]], (40, 60)))
    assert area == 400
