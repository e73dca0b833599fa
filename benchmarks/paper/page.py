"""The benchmark's tables, figures and its one self-contained page."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

import mmseg_domino
from benchmarks.paper.decisions import DECIDING, RELATIVE, Decision, decide
from benchmarks.paper.drawings import VERDICT_COLOURS, claims_figure, question_figure
from benchmarks.paper.questions import CLAIMS, DOMINO, QUESTIONS, SOURCE_ONLY, Key, Question
from mmseg_domino.experiments.collect import Condition, collect_conditions
from mmseg_domino.experiments.statistics import RULE
from mmseg_domino.experiments.tables import (
    averages_table,
    condition_estimate,
    condition_interval,
    domains_table,
)
from mmseg_domino.page import Estimate, Interval, Missing, Table
from mmseg_domino.reporting.figures import figure_bytes
from mmseg_domino.utils import atomic_write
from mmseg_domino.version import __version__

__all__ = ["TARGETS", "claims_table", "write_bench_report"]

#: The data set of the target domains.
TARGETS = "acdc"
#: The paper's best, percent, on the real Cityscapes and ACDC.
PAPER_RELATIVE = 85.38
_CSS = Path(mmseg_domino.__file__).parent / "reporting" / "templates"


@dataclass(frozen=True)
class _Section:
    question: Question
    averages: Table
    domains: Table
    image: str


def _conditions(work_dir: Path) -> dict[Key, Condition]:
    """What the questions ask for, by config; what no sweep has planned is missing too."""
    found = {(c.group, c.name): c for c in collect_conditions([work_dir])}
    wanted = dict.fromkeys(key for q in QUESTIONS for key in q.conditions.values())
    return {key: found.get(key, Condition(*key, ())) for key in wanted}


def claims_table(decisions: Sequence[Decision]) -> Table:
    """One row a comparison: the claim, the verdict, and both differences."""
    columns = [
        "Claim", "Kind", "Against", "Seeds", "Verdict", "Target mIoU, difference",
        "95 % interval", "Relative mIoU, difference", "Relative, 95 % interval",
        "Verdict by relative mIoU",
    ]  # fmt: skip
    rows = []
    for decision in decisions:
        for comparison in decision.comparisons:
            cells: list = []
            for figure in (DECIDING, RELATIVE):
                found = comparison.contrasts.get(figure)
                missing = [Missing("missing")] * 2
                cells += missing if found is None else [
                    found.difference, Interval(found.low, found.high)
                ]  # fmt: skip
            seeds = comparison.contrasts.get(DECIDING)
            rows.append(
                [
                    decision.claim.text,
                    decision.claim.origin,
                    "/".join(comparison.than),
                    0 if seeds is None else seeds.seeds,
                    comparison.verdict(),
                    *cells,
                    comparison.verdict(RELATIVE),
                ]
            )
    return Table(columns, rows, title="Claims")


class _Folder:
    """Writes the report's files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def table(self, name: str, table: Table) -> None:
        for kind, text in (
            ("md", table.markdown()),
            ("csv", table.csv()),
            ("tex", table.latex()),
        ):
            with atomic_write(self.folder / "tables" / f"{name}.{kind}") as path:
                path.write_text(text, encoding="utf-8")

    def figure(self, name: str, figure: Figure) -> str:
        """Write a PNG; return it as a data URI."""
        data = figure_bytes(figure, "png", dpi=130)
        with atomic_write(self.folder / "figures" / f"{name}.png") as path:
            path.write_bytes(data)
        return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def _headline(conditions: Mapping[Key, Condition]) -> list[dict[str, Any]]:
    cards = []
    for label, key in (("Domino", DOMINO), ("source only", SOURCE_ONLY)):
        card: dict[str, Any] = {"label": label, "seeds": len(conditions[key].present)}
        for name, figure in (
            ("source", "source/mIoU"),
            ("target", f"{TARGETS}/{DECIDING}"),
            ("relative", f"{TARGETS}/{RELATIVE}"),
        ):
            card[name] = _words(condition_estimate(conditions[key], figure))
            card[f"{name}_interval"] = _words(condition_interval(conditions[key], figure))
        cards.append(card)
    return cards


def _words(cell: Estimate | Interval | Missing | None) -> str:
    if isinstance(cell, Estimate):
        deviation = "" if cell.std is None else f" ± {cell.std:.1f}"
        return f"{cell.mean:.1f}{deviation}"
    if isinstance(cell, Interval):
        return f"{cell.low:.1f} to {cell.high:.1f}"
    return "-" if cell is None else cell.reason


def _verdicts(decisions: Sequence[Decision]) -> dict:
    return {
        "rule": RULE,
        "claims": [
            {
                "claim": d.claim.text,
                "origin": d.claim.origin,
                "verdict": d.verdict(),
                "verdict_by_relative_miou": d.verdict(RELATIVE),
                "comparisons": [
                    {
                        "better": "/".join(c.better),
                        "than": "/".join(c.than),
                        **{
                            name: {
                                "difference": found.difference, "low": found.low,
                                "high": found.high, "seeds": found.seeds,
                            }
                            for name, found in c.contrasts.items()
                        },
                    }
                    for c in d.comparisons
                ],
            }
            for d in decisions
        ],
    }  # fmt: skip


def write_bench_report(
    work_dir: str | Path, out: str | Path, made: Mapping[str, str] | None = None
) -> list[Decision]:
    """Write ``index.html``, ``verdicts.json``, ``tables/`` and ``figures/`` of a benchmark.

    It can be written at any time; what has not been run is shown as missing.

    Args:
        work_dir: Folder of the benchmark's sweep.
        out: Folder of the report.
        made: How it was made, by heading: command, device, models, ...

    Returns:
        The decided claims.
    """
    conditions, folder = _conditions(Path(work_dir)), _Folder(Path(out))
    decisions = [decide(claim, conditions, TARGETS) for claim in CLAIMS]
    sections = []
    for question in QUESTIONS:
        members = [conditions[key] for key in question.conditions.values()]
        labels = list(question.conditions)
        averages = averages_table(members, question.title, labels)
        domains = domains_table(members, f"{question.title}: mIoU by domain", labels)
        folder.table(question.key, averages)
        folder.table(f"{question.key}_domains", domains)
        drawing = question_figure(
            members, labels, f"{TARGETS}/{DECIDING}", "mIoU over the target domains, percent"
        )
        sections.append(_Section(question, averages, domains, folder.figure(question.key, drawing)))
    claims = claims_table(decisions)
    folder.table("claims", claims)
    runs = [run for c in conditions.values() for run in c.runs]
    page = _environment().get_template("bench.html.j2").render(
        version=__version__, decisions=decisions, claims=claims, sections=sections,
        claims_image=folder.figure("claims", claims_figure(decisions)),
        cards=_headline(conditions), rule=RULE, made=dict(made or {}), colours=VERDICT_COLOURS,
        paper=PAPER_RELATIVE, done=sum(run.results is not None for run in runs), planned=len(runs),
    )  # fmt: skip
    with atomic_write(Path(out) / "verdicts.json") as path:
        path.write_text(json.dumps(_verdicts(decisions), indent=1) + "\n", encoding="utf-8")
    with atomic_write(Path(out) / "index.html") as path:
        path.write_text(page, encoding="utf-8")
    return decisions


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent / "templates", _CSS]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
