"""Tables, figures and the HTML report, from the plain files a test writes.

Nothing here knows the host framework: a report can be made where only matplotlib and Jinja2 are
installed.
"""

from .results import (
    PerImage,
    ResultsError,
    RunResults,
    check_same_classes,
    load_per_image,
    load_results,
    parse_results,
)
from .tables import (
    Estimate,
    Interval,
    Missing,
    Table,
    class_table,
    comparison_table,
    domain_table,
)

__all__ = [
    "Estimate",
    "Interval",
    "Missing",
    "PerImage",
    "ResultsError",
    "RunResults",
    "Table",
    "check_same_classes",
    "class_table",
    "comparison_table",
    "domain_table",
    "load_per_image",
    "load_results",
    "parse_results",
]
