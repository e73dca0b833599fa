"""What a test measures: counts, IoU, intervals, calibration, and the one model of its results.

NumPy only. Everything that shows, compares or collects results is made of these.
"""

from .average_precision import IOU_THRESHOLDS, ImageMatches, Matches, average_precision
from .calibration import FINE_BINS, Calibration
from .comparison import check_same_classes, check_same_images, image_differences, paired_differences
from .confusion import accuracy, iou, mean_over_classes
from .counts import Counts, ImageCount, merge_counts
from .detection import KINDS as DETECTION_KINDS
from .detection import (
    PRECISIONS,
    DetectionGroup,
    DetectionResults,
    build_detection_results,
    detection_figures,
)
from .detection_files import is_detection, load_detection_results, write_detection_results
from .files import load_results, write_results
from .groups import GroupKey, check_name
from .intervals import FEW_IMAGES, Measured, average, figures, measure, student_interval
from .model import Figure, Group, Results
from .per_image import PerImage
from .results import GroupResult, RunResults, build_results
from .stored import RESULTS_FILE, ResultsError

__all__ = [
    "DETECTION_KINDS",
    "FEW_IMAGES",
    "FINE_BINS",
    "IOU_THRESHOLDS",
    "PRECISIONS",
    "RESULTS_FILE",
    "Calibration",
    "Counts",
    "DetectionGroup",
    "DetectionResults",
    "Figure",
    "Group",
    "GroupKey",
    "GroupResult",
    "ImageCount",
    "ImageMatches",
    "Matches",
    "Measured",
    "PerImage",
    "Results",
    "ResultsError",
    "RunResults",
    "accuracy",
    "average",
    "average_precision",
    "build_detection_results",
    "build_results",
    "check_name",
    "check_same_classes",
    "check_same_images",
    "detection_figures",
    "figures",
    "image_differences",
    "iou",
    "is_detection",
    "load_detection_results",
    "load_results",
    "mean_over_classes",
    "measure",
    "merge_counts",
    "paired_differences",
    "student_interval",
    "write_detection_results",
    "write_results",
]
