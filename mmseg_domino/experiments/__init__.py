"""Many runs, and what follows from them: sets, sweeps, tables over seeds."""

from .collect import Condition, collect_conditions
from .plan import PlannedRun, plan_runs
from .record import read_record
from .sets import ConfigSet, load_set
from .statistics import Contrast, contrast, paired_contrasts, verdict
from .sweep import Resources, Sweep, clock
from .tables import (
    averages_table,
    condition_estimate,
    condition_interval,
    differences_table,
    domains_table,
)

__all__ = [
    "Condition",
    "ConfigSet",
    "Contrast",
    "PlannedRun",
    "Resources",
    "Sweep",
    "averages_table",
    "clock",
    "collect_conditions",
    "condition_estimate",
    "condition_interval",
    "contrast",
    "differences_table",
    "domains_table",
    "load_set",
    "paired_contrasts",
    "plan_runs",
    "read_record",
    "verdict",
]
