"""What people use beside training and testing: single images, the web page, pages about data."""

from .inference import Prediction, domains_of, force_domain, init_domino_model, predict_image
from .summary import write_summary

__all__ = [
    "Prediction",
    "domains_of",
    "force_domain",
    "init_domino_model",
    "predict_image",
    "write_summary",
]
