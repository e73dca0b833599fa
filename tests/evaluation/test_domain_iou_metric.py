import json

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from safetensors import safe_open

from mmseg_domino.evaluation import DomainIoUMetric
from mmseg_domino.metrics import iou, mean_over_classes
from mmseg_domino.metrics.files import to_json
from mmseg_domino.utils.journal import JournalError, finished_images

from .samples import CLASSES, GROUPS, META, mixed, predicted, run

SOURCE = "cityscapes/clear_day"


def by_hand(samples):
    """mIoU of samples, counted pixel by pixel with numpy."""
    values = []
    label = np.concatenate([s.gt_sem_seg.data.numpy().ravel() for s in samples])
    prediction = np.concatenate([s.pred_sem_seg.data.numpy().ravel() for s in samples])
    keep = label != 255
    for c in range(19):
        a, b = label[keep] == c, prediction[keep] == c
        if (a | b).any():
            values.append(100 * (a & b).sum() / (a | b).sum())
    return np.mean(values)


def of(samples, prefix):
    return [s for s in samples if f"{s.dataset}/{s.domain}".startswith(prefix)]


def test_a_mixed_batch_is_attributed_sample_by_sample():
    samples = mixed()
    figures = run(DomainIoUMetric(source=SOURCE), samples, batch_size=5)
    for group in GROUPS:
        assert figures[f"{group}/mIoU"] == pytest.approx(by_hand(of(samples, group)), abs=1e-9)
    # The groups differ, so a mislabelled batch could not pass.
    assert len({round(figures[f"{g}/mIoU"], 3) for g in GROUPS}) == len(GROUPS)


def test_overall_figures_are_those_of_stock():
    samples = mixed()
    stock = IoUMetric(iou_metrics=["mIoU"])
    stock.dataset_meta = META
    stock.process({}, [s.to_dict() for s in samples])
    oracle = stock.compute_metrics(stock.results)
    figures = run(DomainIoUMetric(), samples)
    for name in ("mIoU", "mAcc", "aAcc"):
        assert figures[name] == pytest.approx(float(oracle[name]), abs=0.005 + 1e-9)  # it rounds
    areas = [sum(r[i] for r in stock.results) for i in range(4)]
    exact = stock.total_area_to_metrics(*areas, metrics=["mIoU"])["IoU"]
    metric = DomainIoUMetric()
    run(metric, samples)
    pooled = sum(g.confusion for g in metric.last_results.groups.values())
    assert np.abs(iou(pooled) - 100 * np.asarray(exact)).max() < 1e-4  # stock counts in float32


def test_both_averages_and_their_relation_to_the_source():
    samples = mixed()
    figures = run(DomainIoUMetric(source=SOURCE), samples)
    domains = [figures[f"acdc/{d}/mIoU"] for d in ("fog", "night", "rain", "snow")]
    source = figures[f"{SOURCE}/mIoU"]
    assert figures["acdc/mean_of_domains"] == pytest.approx(np.mean(domains))
    assert figures["acdc/pooled"] == pytest.approx(by_hand(of(samples, "acdc")))
    assert figures["acdc/pooled"] != pytest.approx(figures["acdc/mean_of_domains"], abs=1e-3)
    assert figures["acdc/relative_pooled"] == pytest.approx(100 * figures["acdc/pooled"] / source)
    assert figures["targets/pooled"] == pytest.approx(
        (figures["acdc/pooled"] + figures["bdd/pooled"]) / 2
    )
    assert figures["targets/relative_mean_of_domains"] == pytest.approx(
        100 * (np.mean(domains) + figures["bdd/all/mIoU"]) / 2 / source
    )
    assert "cityscapes/pooled" not in figures


def test_no_figure_is_over_source_and_targets():
    samples = mixed()
    figures = run(DomainIoUMetric(source=SOURCE), samples)
    assert not {"mIoU", "mAcc", "aAcc"} & set(figures)
    assert next(iter(figures)) == f"{SOURCE}/mIoU"  # what save_best="auto" takes
    alone = run(DomainIoUMetric(source=SOURCE), of(samples, SOURCE))
    assert next(iter(alone)) == "mIoU"
    assert alone["mIoU"] == alone[f"{SOURCE}/mIoU"]


def test_without_its_source_nothing_is_relative():
    figures = run(DomainIoUMetric(source="gta/clear_day"), mixed())
    assert not [name for name in figures if "relative" in name]


@pytest.mark.parametrize("calibration", [False, True])
def test_order_and_batches_do_not_matter(calibration):
    results = []
    for seed, batch_size in ((0, 1), (1, 7)):
        metric = DomainIoUMetric(source=SOURCE, calibration=calibration)
        run(metric, mixed(seed=seed), batch_size)
        results.append(to_json(metric.last_results))
    assert results[0] == results[1]


def test_samples_on_a_device_count_as_on_the_cpu(device):
    results = []
    for where in ("cpu", device):
        metric = DomainIoUMetric(source=SOURCE, calibration=True)
        run(metric, [sample.to(where) for sample in mixed()])
        results.append(metric.last_results)
    cpu, there = results
    for name, group in cpu.groups.items():
        assert np.array_equal(group.confusion, there.groups[name].confusion)
        # A confidence at the edge of a bin may round to its other side.
        ours, other = group.calibration, there.groups[name].calibration
        assert ours.ece_ratio == pytest.approx(other.ece_ratio, abs=1e-3)
        assert ours.aurc_ratio == pytest.approx(other.aurc_ratio, abs=1e-3)


def test_an_image_that_comes_twice_counts_once():
    samples = mixed()
    once = run(DomainIoUMetric(), samples)
    assert run(DomainIoUMetric(), [*samples, samples[0], samples[5]]) == once


def test_one_file_may_be_tested_under_several_domains():
    a, b = predicted("acdc/fog", 0), predicted("acdc/night", 0)
    b.set_metainfo({"img_path": a.img_path})
    metric = DomainIoUMetric()
    run(metric, [a, b])
    assert [g.num_images for g in metric.last_results.groups.values()] == [1, 1]


def test_memory_of_the_confusions_does_not_grow_with_images():
    metric = DomainIoUMetric()
    metric.dataset_meta = META
    sizes = set()
    for i in range(20):
        metric.process({}, [predicted("acdc/fog", i).to_dict()])
        counts = metric.counted
        sizes.add(sum(c.nbytes for c in counts.confusions.values()))
        assert sum(p.nbytes for p in counts.pixels.values()) == 3 * 19 * 4 * (i + 1)
    assert sizes == {19 * 19 * 8}


def test_class_subsets_average_ious_of_all_classes_confusion():
    thin = ["pole", "fence", "wall"]
    subset = [c for c in CLASSES if c not in thin]
    metric = DomainIoUMetric(class_subsets={"mIoU16": subset})
    figures = run(metric, mixed())
    group = metric.last_results.groups["acdc/fog"]
    expected = np.mean([group.iou[CLASSES.index(c)] for c in subset])
    assert figures["acdc/fog/mIoU16"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="names unknown classes"):
        run(DomainIoUMetric(class_subsets={"x": ["tram"]}), mixed())


def test_intervals_hold_the_figure_and_follow_the_images():
    metric = DomainIoUMetric(source=SOURCE)
    run(metric, mixed(images=12))
    results = metric.last_results
    for name in (*(f"{key}/mIoU" for key in results.groups), "acdc/fog/relative_mIoU",
                 "acdc/mean_of_domains", "acdc/relative_pooled", "targets/pooled"):  # fmt: skip
        low, high = results.figures[name].interval
        assert low < results.figures[name].value < high
    metric = DomainIoUMetric(intervals=False)
    run(metric, mixed())
    assert all(figure.interval is None for figure in metric.last_results.figures.values())


def test_calibration_by_domain():
    figures = run(DomainIoUMetric(calibration=True), mixed())
    assert 0 < figures["acdc/fog/ece_ratio"] < 1
    assert figures["acdc/night/aurc_ratio"] > figures["acdc/fog/aurc_ratio"]


def test_calibration_refuses_logits_that_are_not_of_the_prediction():
    sample = predicted("acdc/fog", 0)
    sample.seg_logits.data = sample.seg_logits.data.flip(0)
    with pytest.raises(ValueError, match="not the largest of its logits"):
        run(DomainIoUMetric(calibration=True), [sample])


def test_domain_scores_are_averaged():
    samples = mixed()
    for i, sample in enumerate(samples):
        sample.set_data({"domain_scores": torch.tensor([i / 100, 1 - i / 100])})
        sample.set_metainfo({"domain_names": ("fog", "night")})
    metric = DomainIoUMetric()
    run(metric, samples)
    group = metric.last_results.groups["acdc/rain"]
    expected = np.mean([s.domain_scores.numpy() for s in of(samples, "acdc/rain")], axis=0)
    assert np.allclose(group.domain_scores.mean, expected)
    assert group.domain_scores.names == ("fog", "night")
    assert metric.last_results.images.domain_scores.shape == (len(samples), 2)


def test_writes_what_the_contract_says(tmp_path):
    metric = DomainIoUMetric(
        source=SOURCE, results_file=str(tmp_path / "results.json"), run={"name": "x", "seed": 3}
    )
    samples = mixed()
    run(metric, samples)
    data = json.loads((tmp_path / "results.json").read_text())
    assert data["format"] == "mmseg_domino.results/1"
    assert data["run"] == {"name": "x", "seed": 3}
    assert data["source"] == SOURCE
    assert next(iter(data["groups"])) == SOURCE
    fog = data["groups"]["acdc/fog"]
    assert np.array(fog["confusion"]).sum() == sum(
        (s.gt_sem_seg.data != 255).sum() for s in of(samples, "acdc/fog")
    )
    assert fog["mIoU"] == pytest.approx(mean_over_classes(iou(np.array(fog["confusion"]))))
    with safe_open(tmp_path / "per_image.safetensors", "np") as file:
        header = json.loads(file.metadata()["mmseg_domino"])
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    assert header["classes"] == list(CLASSES)
    rows = [i for i, g in enumerate(header["groups"]) if g == "acdc/fog"]
    assert [header["images"][i] for i in rows] == sorted(
        s.img_path for s in of(samples, "acdc/fog")
    )
    assert tensors["intersection"].dtype == np.int32
    assert tensors["label"][rows].sum(0).tolist() == np.array(fog["confusion"]).sum(1).tolist()
    assert tensors["prediction"][rows].sum(0).tolist() == np.array(fog["confusion"]).sum(0).tolist()


def test_is_empty_for_the_next_epoch():
    metric = DomainIoUMetric()
    run(metric, mixed())
    assert run(metric, [predicted("acdc/fog", 0)])["acdc/fog/mIoU"] > 0
    assert list(metric.last_results.groups) == ["acdc/fog"]


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_bad_logits_are_named(value, device):
    sample = predicted("acdc/fog", 7).to(device)
    sample.seg_logits.data[3, 2, 1] = value
    with pytest.raises(ValueError, match=r"acdc/fog/0007.png: the model's logits are NaN"):
        run(DomainIoUMetric(), [sample])


def test_a_label_of_another_size_is_named():
    sample = predicted("acdc/fog", 7)
    del sample.gt_sem_seg
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, 5, 5, dtype=torch.long))
    with pytest.raises(ValueError, match=r"0007.png .*prediction has shape \(20, 24\), the label"):
        run(DomainIoUMetric(), [sample])


def test_label_values_out_of_range_are_named():
    sample = predicted("acdc/fog", 7)
    sample.gt_sem_seg.data[0, 0, 0] = 33
    with pytest.raises(ValueError, match=r"0007.png .*label has values out of range: 33"):
        run(DomainIoUMetric(), [sample])


def test_a_sample_without_label_is_named():
    with pytest.raises(ValueError, match=r"0000.png .*no label.*--format-only"):
        run(DomainIoUMetric(), [predicted("acdc/fog", 0, labelled=False)])


def test_a_model_with_other_classes_is_refused():
    sample = predicted("acdc/fog", 0, classes=21)
    with pytest.raises(ValueError, match="model has 21 classes, the data set 19"):
        run(DomainIoUMetric(), [sample])


def test_a_sample_without_domain_is_named_or_given_the_default():
    sample = predicted("acdc/fog", 0)
    sample.set_metainfo({"domain": None})
    with pytest.raises(ValueError, match=r"0000.png: its data set and domain are not known"):
        run(DomainIoUMetric(), [sample])
    assert "a/b/mIoU" in run(DomainIoUMetric(default_group="a/b"), [sample])


def test_a_domain_that_cannot_be_filed_under_is_refused_at_its_first_image():
    """It crashed after the whole test."""
    sample = predicted("acdc/rain", 0)
    sample.set_metainfo({"domain": "rain/heavy"})
    metric = DomainIoUMetric()
    with pytest.raises(ValueError, match=r"0000.png: domain must not contain a slash.*rain_heavy"):
        metric.process({}, [sample.to_dict()])


def test_a_sample_without_path_is_refused():
    sample = predicted("acdc/fog", 0)
    sample.set_metainfo({"img_path": None})
    with pytest.raises(ValueError, match="no img_path"):
        run(DomainIoUMetric(), [sample])


@pytest.mark.parametrize(
    "arguments",
    [
        {"source": "cityscapes"},
        {"default_group": "a/b/c"},
        {"format_only": True},
        {"submission": "acdc"},
        {"journal": {"resume": True}},
        {"output_dir": "x", "submission": {"form": "acdc"}},
        {"submission": "kitti", "output_dir": "x"},
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ValueError, match=r"expected|need|unknown"):
        DomainIoUMetric(**arguments)


def test_no_image_at_all_is_an_error():
    with pytest.raises(ValueError, match="nothing was evaluated"):
        run(DomainIoUMetric(), [])


# --- interruption ---------------------------------------------------------------------------------


def interrupted(journal, samples, count, resume=False, fingerprint="abc", **kwargs):
    kept = dict(folder=str(journal), resume=resume, fingerprint=fingerprint)
    metric = DomainIoUMetric(journal=kept, **kwargs)
    metric.dataset_meta = META
    for sample in samples[:count]:
        metric.process({}, [sample.to_dict()])
    return metric


def resuming(journal):
    return dict(folder=str(journal), resume=True, fingerprint="abc")


@pytest.mark.parametrize("calibration", [False, True])
def test_a_resumed_test_equals_one_in_one_piece(tmp_path, calibration):
    samples = mixed()
    for sample in samples:
        sample.set_data({"domain_scores": torch.rand(2)})
        sample.set_metainfo({"domain_names": ("a", "b")})
    whole = DomainIoUMetric(source=SOURCE, calibration=calibration)
    run(whole, samples)
    options = dict(source=SOURCE, calibration=calibration)
    journal = tmp_path / "journal"
    interrupted(journal, samples, 7, **options)
    assert len(finished_images(journal)) == 7
    # What follows may be any mixture of done and new images; done ones are not looked at.
    poisoned = samples[0].clone()
    poisoned.seg_logits.data.fill_(float("nan"))
    resumed = DomainIoUMetric(journal=resuming(journal), **options)
    run(resumed, [poisoned, *samples[7:]])
    assert to_json(resumed.last_results) == to_json(whole.last_results)
    assert np.array_equal(resumed.last_results.images.counts, whole.last_results.images.counts)
    scores = (r.last_results.images.domain_scores for r in (resumed, whole))
    assert np.array_equal(*scores)
    assert not journal.exists()


def test_a_resumed_test_may_be_interrupted_again(tmp_path):
    samples = mixed()
    interrupted(tmp_path, samples, 5)
    interrupted(tmp_path, samples[5:], 4, resume=True)
    metric = DomainIoUMetric(journal=resuming(tmp_path))
    assert run(metric, samples[9:]) == run(DomainIoUMetric(), samples)


def test_a_line_that_a_kill_cut_off_is_done_again(tmp_path):
    samples = mixed()
    interrupted(tmp_path, samples, 5)
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-20])
    assert len(finished_images(tmp_path)) == 4
    metric = DomainIoUMetric(journal=resuming(tmp_path))
    assert run(metric, samples) == run(DomainIoUMetric(), samples)


def test_a_damaged_journal_is_named(tmp_path):
    interrupted(tmp_path, mixed(), 5)
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_text().splitlines()
    lines[2] = lines[2][:30]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(JournalError, match="line 3: damaged"):
        run(DomainIoUMetric(journal=resuming(tmp_path)), mixed())


@pytest.mark.parametrize("other", [{"fingerprint": "b"}, {"ignore_index": 0}])
def test_a_journal_of_another_run_is_refused(tmp_path, other):
    interrupted(tmp_path, mixed(), 5)
    kept = resuming(tmp_path) | {k: v for k, v in other.items() if k == "fingerprint"}
    options = {k: v for k, v in other.items() if k != "fingerprint"}
    with pytest.raises(JournalError, match="run without --resume"):
        run(DomainIoUMetric(journal=kept, **options), mixed())


def test_without_resume_an_old_journal_does_not_count(tmp_path):
    samples = mixed()
    interrupted(tmp_path, samples, 5)
    metric = DomainIoUMetric(journal=str(tmp_path))
    assert run(metric, samples) == run(DomainIoUMetric(), samples)
