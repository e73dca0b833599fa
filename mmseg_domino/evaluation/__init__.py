"""IoU by domain, relative to the source, with intervals; predictions for benchmark servers."""

from ..metrics.counts import Counts, ImageCount, merge_counts
from ..metrics.results import (
    DatasetSummary,
    EvaluationResults,
    GroupResult,
    ImageTable,
    build_results,
)
from .domain_iou_metric import DomainIoUMetric
from .predictions import (
    SUBMISSION_FORMATS,
    PredictionWriter,
    SubmissionError,
    SubmissionFormat,
    SubmissionWriter,
)
from .tables import text_tables

__all__ = [
    "SUBMISSION_FORMATS",
    "Counts",
    "DatasetSummary",
    "DomainIoUMetric",
    "EvaluationResults",
    "GroupResult",
    "ImageCount",
    "ImageTable",
    "PredictionWriter",
    "SubmissionError",
    "SubmissionFormat",
    "SubmissionWriter",
    "build_results",
    "merge_counts",
    "text_tables",
]
