"""SYNTHIA-RAND-CITYSCAPES: 9,400 synthetic images, 1280x760, 16 of the 19 classes.

`domino data convert synthia` makes the trainIds."""

# Without a pipeline: the training crop belongs to the setting.
synthia_train = dict(
    type="CityscapesDataset",
    data_root="data/synthia/",
    data_prefix=dict(img_path="RGB", seg_map_path="GT/LABELS"),
    img_suffix=".png",
    seg_map_suffix="_labelTrainIds.png",
)
# SYNTHIA has no terrain, truck and train, so models trained on it alone are compared over the other
# 16 classes, or over 13, also without wall, fence and pole: an average of IoUs over those classes,
# with all 19 in the confusion. For `class_subsets` of DomainIoUMetric.
synthia_class_subsets = dict(
    mIoU16=[
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "sky",
        "person",
        "rider",
        "car",
        "bus",
        "motorcycle",
        "bicycle",
    ],
    mIoU13=[
        "road",
        "sidewalk",
        "building",
        "traffic light",
        "traffic sign",
        "vegetation",
        "sky",
        "person",
        "rider",
        "car",
        "bus",
        "motorcycle",
        "bicycle",
    ],
)
