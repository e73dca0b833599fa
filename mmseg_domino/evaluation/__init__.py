"""IoU by domain, relative to the source, with intervals; predictions for benchmark servers."""

from .domain_iou_metric import DomainIoUMetric
from .domain_metric import DomainMetric
from .predictions import PredictionWriter

__all__ = ["DomainIoUMetric", "DomainMetric", "PredictionWriter"]
