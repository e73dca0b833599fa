"""Pure functions on arrays: what the metric computes, without the framework around it."""

from .bootstrap import bootstrap_counts, bootstrap_miou, percentile_interval, resample_groups
from .calibration import (
    FINE_BINS,
    Calibration,
    calibration_from_histogram,
    confidence_histogram,
    predicted_probability,
)
from .confusion import (
    accuracy,
    class_accuracy,
    confusion_matrix,
    iou,
    iou_from_counts,
    mean_over_classes,
    relative_miou,
)

__all__ = [
    "FINE_BINS",
    "Calibration",
    "accuracy",
    "bootstrap_counts",
    "bootstrap_miou",
    "calibration_from_histogram",
    "class_accuracy",
    "confidence_histogram",
    "confusion_matrix",
    "iou",
    "iou_from_counts",
    "mean_over_classes",
    "percentile_interval",
    "predicted_probability",
    "relative_miou",
    "resample_groups",
]
