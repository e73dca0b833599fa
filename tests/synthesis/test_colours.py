import numpy as np
import pytest
from mmseg.datasets import ADE20KDataset, CityscapesDataset

from mmseg_domino.datasets import CamVidDataset
from mmseg_domino.synthesis.colours import (
    ADE20K_OF_CLASS,
    LabelValuesError,
    check_label,
    class_colours,
    control_image,
)


def test_the_table_agrees_with_mmsegmentations_palette():
    names, palette = ADE20KDataset.METAINFO["classes"], ADE20KDataset.METAINFO["palette"]
    official = {name: tuple(colour) for name, colour in zip(names, palette, strict=True)}
    for name, (ade, colour) in ADE20K_OF_CLASS.items():
        assert official[ade] == colour, name


@pytest.mark.parametrize("dataset", [CityscapesDataset, CamVidDataset])
def test_every_class_of_the_street_data_sets_has_a_colour(dataset):
    classes = dataset.METAINFO["classes"]
    colours = class_colours(classes)
    assert colours.shape == (len(classes), 3)
    assert tuple(colours[classes.index("road")]) == (140, 140, 140)


def test_a_label_becomes_its_colours_and_void_black():
    colours = class_colours(CityscapesDataset.METAINFO["classes"])
    label = np.array([[0, 10], [13, 255]], np.uint8)
    expected = [[[140, 140, 140], [6, 230, 230]], [[0, 102, 200], [0, 0, 0]]]
    assert control_image(label, colours).tolist() == expected


def test_own_colours_for_own_classes():
    colours = class_colours(("road", "tram"), {"tram": (1, 2, 3)})
    assert colours.tolist() == [[140, 140, 140], [1, 2, 3]]
    with pytest.raises(ValueError, match=r"no ADE20K colour.*'tram'.*colours="):
        class_colours(("road", "tram"))
    for wrong in ((1, 2), (1, 2, 256), (0.5, 0, 0)):
        with pytest.raises(ValueError, match="three whole numbers"):
            class_colours(("tram",), {"tram": wrong})


def test_values_outside_the_table_are_refused():
    label = np.array([[0, 19, 33, 255]], np.uint8)
    with pytest.raises(LabelValuesError, match=r"\[19, 33\] outside 0 to 18.*labelTrainIds"):
        check_label(label, 19)
    with pytest.raises(LabelValuesError, match="colour image"):
        check_label(np.zeros((2, 2, 3), np.uint8), 19)
    check_label(np.array([[18, 255]], np.uint8), 19)
