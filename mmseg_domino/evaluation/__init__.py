"""IoU by domain, relative to the source, with intervals; predictions for benchmark servers."""

from .domain_iou_metric import DomainIoUMetric
from .gathering import finish_in_one_process, group_of, image_path
from .pixels import confidence_histogram, confusion_matrix, predicted_probability
from .predictions import (
    SUBMISSION_FORMATS,
    PredictionWriter,
    SubmissionError,
    SubmissionFormat,
    SubmissionWriter,
)

__all__ = [
    "SUBMISSION_FORMATS",
    "DomainIoUMetric",
    "PredictionWriter",
    "SubmissionError",
    "SubmissionFormat",
    "SubmissionWriter",
    "confidence_histogram",
    "confusion_matrix",
    "finish_in_one_process",
    "group_of",
    "image_path",
    "predicted_probability",
]
