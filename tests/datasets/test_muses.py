"""MUSES in its native tree."""

import pytest

from mmseg_domino.datasets import MUSESDataset

from .trees import write_pair


def tree(root, splits=("val",), weathers=("clear", "fog"), times=("day", "night"), labels=True):
    for split in splits:
        for weather in weathers:
            for time in times:
                stem = f"{split}/{weather}/{time}/REC0001_frame_000001"
                label = root / f"gt_semantic/{stem}_gt_labelTrainIds.png" if labels else None
                write_pair(root / f"frame_camera/{stem}_frame_camera.png", label)
    return str(root)


def build(root, **kwargs):
    return MUSESDataset(data_root=root, pipeline=[], **kwargs)


def test_weather_and_time_are_the_domain(tmp_path):
    dataset = build(tree(tmp_path), weathers=("fog", "clear"))
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [i["domain"] for i in found] == ["fog_day", "fog_night", "clear_day", "clear_night"]
    assert {i["dataset"] for i in found} == {"muses"}
    assert found[1]["seg_map_path"].endswith(
        "gt_semantic/val/fog/night/REC0001_frame_000001_gt_labelTrainIds.png"
    )
    only = build(str(tmp_path), weathers="clear", times="night")
    assert len(only) == 1


def test_a_test_split_may_have_labels_or_not(tmp_path):
    without = build(tree(tmp_path / "a", ("test",), labels=False), split="test",
                    weathers=("clear", "fog"))  # fmt: skip
    assert {without.get_data_info(i)["seg_map_path"] for i in range(4)} == {None}
    with_labels = build(tree(tmp_path / "b", ("test",)), split="test", weathers="fog")
    assert with_labels.get_data_info(0)["seg_map_path"] is not None


def test_what_it_does_not_know_is_refused(tmp_path):
    root = tree(tmp_path)
    with pytest.raises(ValueError, match="weathers must be some of clear, fog, rain, snow"):
        build(root, weathers=("fog", "hail"))
    with pytest.raises(ValueError, match="times must be some of day, night"):
        build(root, times=())
    with pytest.raises(ValueError, match="split must be one of"):
        build(root, split="validation")
    with pytest.raises(FileNotFoundError, match="MUSES rain by day: MUSES keeps its native tree"):
        build(root)
