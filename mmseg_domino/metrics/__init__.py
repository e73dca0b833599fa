"""What a test measures: counts, IoU, intervals, calibration, and the one model of its results.

NumPy only. Everything that shows, compares or collects results is made of these.
"""

from .calibration import FINE_BINS, Calibration, calibration_from_histogram
from .comparison import (
    check_same_classes,
    check_same_images,
    image_differences,
    paired_differences,
)
from .confusion import (
    accuracy,
    class_accuracy,
    counts_of,
    iou,
    iou_from_counts,
    mean_over_classes,
    miou_from_counts,
    relative_miou,
)
from .counts import Counts, ImageCount, merge_counts
from .files import RESULTS_FILE, load_results, parse_results, to_json, write_results
from .groups import GroupKey, check_name
from .intervals import (
    AVERAGES,
    FEW_IMAGES,
    Measured,
    average,
    figures,
    measure,
    student_interval,
)
from .per_image import PER_IMAGE_FILE, PerImage, ResultsError, load_per_image
from .results import DomainScores, Figure, GroupResult, RunResults, build_results

__all__ = [
    "AVERAGES",
    "FEW_IMAGES",
    "FINE_BINS",
    "PER_IMAGE_FILE",
    "RESULTS_FILE",
    "Calibration",
    "Counts",
    "DomainScores",
    "Figure",
    "GroupKey",
    "GroupResult",
    "ImageCount",
    "Measured",
    "PerImage",
    "ResultsError",
    "RunResults",
    "accuracy",
    "average",
    "build_results",
    "calibration_from_histogram",
    "check_name",
    "check_same_classes",
    "check_same_images",
    "class_accuracy",
    "counts_of",
    "figures",
    "image_differences",
    "iou",
    "iou_from_counts",
    "load_per_image",
    "load_results",
    "mean_over_classes",
    "measure",
    "merge_counts",
    "miou_from_counts",
    "paired_differences",
    "parse_results",
    "relative_miou",
    "student_interval",
    "to_json",
    "write_results",
]
