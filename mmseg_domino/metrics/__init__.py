"""What a test measures: counts, IoU, intervals, calibration, and the one model of its results.

NumPy only. Everything that shows, compares or collects results is made of these.
"""

from .average_precision import (
    IOU_THRESHOLDS,
    ImageMatches,
    Matches,
    average_precision,
    mean_precisions,
    resample,
)
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
from .detection import KINDS as DETECTION_KINDS
from .detection import (
    PRECISIONS,
    DetectionGroup,
    DetectionResults,
    bootstrap_intervals,
    build_detection_results,
    detection_figures,
    measure_detection,
)
from .detection_files import (
    is_detection,
    load_detection_results,
    write_detection_results,
)
from .files import load_results, parse_results, to_json, write_results
from .groups import GroupKey, check_name
from .intervals import (
    FEW_IMAGES,
    Measured,
    average,
    figures,
    measure,
    student_interval,
)
from .model import Figure, Group, Results
from .per_image import PerImage, load_per_image
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
    "bootstrap_intervals",
    "build_detection_results",
    "build_results",
    "calibration_from_histogram",
    "check_name",
    "check_same_classes",
    "check_same_images",
    "class_accuracy",
    "counts_of",
    "detection_figures",
    "figures",
    "image_differences",
    "iou",
    "iou_from_counts",
    "is_detection",
    "load_detection_results",
    "load_per_image",
    "load_results",
    "mean_over_classes",
    "mean_precisions",
    "measure",
    "measure_detection",
    "merge_counts",
    "miou_from_counts",
    "paired_differences",
    "parse_results",
    "relative_miou",
    "resample",
    "student_interval",
    "to_json",
    "write_detection_results",
    "write_results",
]
