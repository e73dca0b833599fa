"""Domino for mmdet's detectors: object detection and instance segmentation across domains.

Importing this room registers the package's parts with mmdet's registries, under the names that
they have in MMSegmentation's. It needs mmdet (``pip install 'mmseg_domino[onedl,detection]'``).
"""

try:
    import mmdet  # noqa: F401
except ImportError as error:
    raise ImportError(
        "mmseg_domino.detection needs mmdet, which is not installed: MMCV_WITH_OPS=0 pip install "
        "'mmseg_domino[onedl,detection]' (no compiler is needed)"
    ) from error

from .box_datasets import BDD100KDetDataset, DiverseWeatherDataset
from .cityscapes import convert_instances
from .coco_dataset import DomainCocoDataset
from .data_preprocessor import DominoDetDataPreprocessor
from .detector import DominoDetector
from .domain_detection_metric import DomainDetectionMetric
from .formatting import PackDominoDetInputs
from .panoptic import DomainPanopticDataset, LoadPanopticSegments
from .registration import register_with_mmdet
from .report_hook import DetectionReportHook

__all__ = [
    "BDD100KDetDataset",
    "DetectionReportHook",
    "DiverseWeatherDataset",
    "DomainCocoDataset",
    "DomainDetectionMetric",
    "DomainPanopticDataset",
    "DominoDetDataPreprocessor",
    "DominoDetector",
    "LoadPanopticSegments",
    "PackDominoDetInputs",
    "convert_instances",
]

register_with_mmdet()
