"""Many runs, and what follows from them: sweeps, tables over seeds, the benchmark."""

from .collect import Condition, SeedRun, collect_conditions
from .plan import PlannedRun, SetError, find_configs, plan_runs, rebase
from .record import RunRecord, read_record
from .statistics import Contrast, contrast, verdict
from .sweep import Sweep, SweepBusyError, SweepReport, clock
from .tables import averages_table, condition_estimate, condition_interval, domains_table

__all__ = [
    "Condition",
    "Contrast",
    "PlannedRun",
    "RunRecord",
    "SeedRun",
    "SetError",
    "Sweep",
    "SweepBusyError",
    "SweepReport",
    "averages_table",
    "clock",
    "collect_conditions",
    "condition_estimate",
    "condition_interval",
    "contrast",
    "domains_table",
    "find_configs",
    "plan_runs",
    "read_record",
    "rebase",
    "verdict",
]
