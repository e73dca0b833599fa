"""Tables, figures and the HTML report, from the plain files a test writes.

Nothing here knows the host framework: a report can be made where only matplotlib and Jinja2 are
installed.
"""

from .detection_examples import draw_objects, select_detection_examples
from .detection_report import write_detection_report
from .detection_tables import detection_table
from .examples import (
    Example,
    ExampleArrays,
    Selection,
    clear_examples,
    reduced,
    select_examples,
    write_example,
    write_index,
)
from .figures import class_heat_map, domain_bars, domain_score_heat_map
from .overlay import DomainLine, annotate, overlay
from .report import write_report
from .runs import EXAMPLES_FOLDER, load_run
from .tables import comparison_table, difference_table, domain_table, text_tables

__all__ = [
    "EXAMPLES_FOLDER",
    "DomainLine",
    "Example",
    "ExampleArrays",
    "Selection",
    "annotate",
    "class_heat_map",
    "clear_examples",
    "comparison_table",
    "detection_table",
    "difference_table",
    "domain_bars",
    "domain_score_heat_map",
    "domain_table",
    "draw_objects",
    "load_run",
    "overlay",
    "reduced",
    "select_detection_examples",
    "select_examples",
    "text_tables",
    "write_detection_report",
    "write_example",
    "write_index",
    "write_report",
]
