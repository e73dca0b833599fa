"""Tables, figures and the HTML report, from the plain files a test writes.

Nothing here knows the host framework: a report can be made where only matplotlib and Jinja2 are
installed.
"""

from .detection_examples import (
    draw_objects,
    select_detection_examples,
    write_detection_example,
    write_detection_index,
)
from .detection_report import comparison_of_detectors, write_detection_report
from .detection_tables import detection_class_table, detection_table
from .examples import (
    Example,
    ExampleArrays,
    Selection,
    clear_examples,
    load_examples,
    select_examples,
    write_example,
    write_index,
)
from .figures import (
    class_heat_map,
    confusion_heat_map,
    difference_heat_map,
    domain_bars,
    domain_score_heat_map,
)
from .overlay import DomainLine, annotate, overlay
from .report import write_report
from .runs import EXAMPLES_FOLDER, ReportRun, load_run
from .tables import (
    calibration_table,
    class_table,
    comparison_table,
    difference_table,
    domain_table,
    image_notes,
    text_tables,
)

__all__ = [
    "EXAMPLES_FOLDER",
    "DomainLine",
    "Example",
    "ExampleArrays",
    "ReportRun",
    "Selection",
    "annotate",
    "calibration_table",
    "class_heat_map",
    "class_table",
    "clear_examples",
    "comparison_of_detectors",
    "comparison_table",
    "confusion_heat_map",
    "detection_class_table",
    "detection_table",
    "difference_heat_map",
    "difference_table",
    "domain_bars",
    "domain_score_heat_map",
    "domain_table",
    "draw_objects",
    "image_notes",
    "load_examples",
    "load_run",
    "overlay",
    "select_detection_examples",
    "select_examples",
    "text_tables",
    "write_detection_example",
    "write_detection_index",
    "write_detection_report",
    "write_example",
    "write_index",
    "write_report",
]
