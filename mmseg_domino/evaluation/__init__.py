"""IoU by domain, relative to the source, with intervals; predictions for benchmark servers."""

from .domain_iou_metric import DomainIoUMetric
from .domain_metric import DomainMetric
from .pixels import confidence_histogram, confusion_matrix, predicted_probability
from .predictions import SUBMISSION_FORMATS, PredictionWriter, SubmissionError, SubmissionWriter

__all__ = [
    "SUBMISSION_FORMATS",
    "DomainIoUMetric",
    "DomainMetric",
    "PredictionWriter",
    "SubmissionError",
    "SubmissionWriter",
    "confidence_histogram",
    "confusion_matrix",
    "predicted_probability",
]
