"""The benchmark's tables, figures and its one self-contained page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.paper.decisions import DECIDING, RELATIVE, Decision, decide
from benchmarks.paper.drawings import claims_figure, question_figure
from benchmarks.paper.questions import CLAIMS, DOMINO, PLAIN, QUESTIONS, Claim, Key, Question
from mmseg_domino.experiments.collect import Condition, collect_conditions
from mmseg_domino.experiments.statistics import RULE
from mmseg_domino.experiments.tables import (
    averages_table,
    condition_estimate,
    condition_interval,
    domains_table,
)
from mmseg_domino.page import (
    Card,
    Cards,
    Details,
    Drawings,
    Estimate,
    Interval,
    Missing,
    Page,
    Pairs,
    Section,
    Table,
    Text,
    write_page,
)
from mmseg_domino.utils import atomic_write

#: The data set of the target domains.
TARGETS = "acdc"
#: The paper's best, percent, on the real Cityscapes and ACDC.
PAPER_RELATIVE = 85.38


def _conditions(work_dir: Path, questions: Sequence[Question]) -> dict[Key, Condition]:
    """What the questions ask for, by config; what no sweep has planned is missing too."""
    found = {(c.group, c.name): c for c in collect_conditions([work_dir])}
    wanted = dict.fromkeys(key for q in questions for key in q.conditions.values())
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


def _write_table(folder: Path, name: str, table: Table) -> None:
    texts = {"md": table.markdown(), "csv": table.csv(), "tex": table.latex()}
    for kind, text in texts.items():
        with atomic_write(folder / "tables" / f"{name}.{kind}") as path:
            path.write_text(text, encoding="utf-8")


def _headline(conditions: Mapping[Key, Condition]) -> Cards:
    """The targets' mIoU, with the relative one beside it."""
    cards = []
    for label, key in (("Domino", DOMINO), ("plain VPD", PLAIN)):
        condition, seeds = conditions[key], len(conditions[key].present)

        def words(make, figure, condition=condition):
            return _words(make(condition, figure))

        target, relative = f"{TARGETS}/{DECIDING}", f"{TARGETS}/{RELATIVE}"
        cards.append(
            Card(
                words(condition_estimate, target),
                [
                    f"target mIoU, percent; mean ± deviation of {seeds} seeds",
                    f"95 % interval {words(condition_interval, target)}",
                    f"relative mIoU {words(condition_estimate, relative)}, 95 % interval "
                    f"{words(condition_interval, relative)}",
                ],
                label,
                rows=[("source mIoU", words(condition_estimate, "source/mIoU"))],
            )
        )
    return Cards(cards)


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
    work_dir: str | Path,
    out: str | Path,
    made: Mapping[str, str] | None = None,
    questions: Sequence[Question] = QUESTIONS,
    claims: Sequence[Claim] = CLAIMS,
) -> list[Decision]:
    """Write ``index.html``, ``verdicts.json``, ``tables/`` and ``figures/`` of a benchmark.

    It can be written at any time; what has not been run is shown as missing.

    Args:
        work_dir: Folder of the benchmark's sweep.
        out: Folder of the report.
        made: How it was made, by heading: command, device, models, ...
        questions: Whose tables it has.
        claims: To be decided, among the questions' conditions.

    Returns:
        The decided claims.
    """
    conditions, folder = _conditions(Path(work_dir), questions), Path(out)
    drawings = Drawings(folder / "figures")
    decisions = [decide(claim, conditions, TARGETS) for claim in claims]
    table = claims_table(decisions)
    _write_table(folder, "claims", table)
    runs = [run for c in conditions.values() for run in c.runs]
    done = sum(run.results is not None for run in runs)
    page = Page(
        "The paper in a box",
        [
            Section("headline", "", [
                _headline(conditions),
                Text(f"The paper's best relative mIoU, at full size on Cityscapes and ACDC, is "
                     f"{PAPER_RELATIVE} %. The figures here are of another world and other models "
                     "and are not to be compared with it.", "note"),
            ]),
            Section("claims", "Claims", [
                table,
                Text(f"The rule. {RULE} A claim against several holds if it holds against each, "
                     "and does not hold if it does not against one. The figure that decides is the "
                     "mean of the target domains' mIoUs; the relative mIoU, told beside it, also "
                     f"rises when the source's mIoU falls. With {len(decisions)} claims at 95 %, "
                     "one may be decided wrongly by chance.", "note"),
                drawings.chart("claims", "Differences of all comparisons with their intervals.",
                               claims_figure(decisions)),
            ]),
            *(_question(question, conditions, drawings, folder) for question in questions),
            Section("made", "How it was made", [
                Pairs(list((made or {}).items())),
                Text("mIoU is over 19 classes, percent; ± is the standard deviation over seeds; "
                     "intervals of single conditions are over images.", "note"),
            ]),
        ],
        "Domain-aware fine-tuning of foundation models, in miniature",
        ["Every question of the paper, trained and tested on a procedural street world with "
         "miniature foundation models. What holds here may fail at full size, and the other way "
         f"round. {done} of {len(runs)} runs have results."],
    )  # fmt: skip
    with atomic_write(folder / "verdicts.json") as path:
        path.write_text(json.dumps(_verdicts(decisions), indent=1) + "\n", encoding="utf-8")
    write_page(page, folder / "index.html")
    return decisions


def _question(question, conditions, drawings: Drawings, folder: Path) -> Section:
    labels = list(question.conditions)
    members = [replace(conditions[key], name=label) for label, key in question.conditions.items()]
    averages = averages_table(members, question.title)
    domains = domains_table(members, f"{question.title}: mIoU by domain")
    _write_table(folder, question.key, averages)
    _write_table(folder, f"{question.key}_domains", domains)
    figure = question_figure(
        members, labels, f"{TARGETS}/{DECIDING}", "mIoU over the target domains, percent"
    )
    chart = drawings.chart(question.key, f"{question.title}: mIoU over the target domains.", figure)
    blocks = [Text(question.text), chart, averages, Details("Every domain", [domains])]
    return Section(question.key, question.title, blocks)
