"""Tables as Markdown, CSV, LaTeX, plain text and HTML, from one description.

A :class:`Table` holds values, not strings: the renderings differ in how they write a number, an
interval or something missing, and CSV keeps full precision.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Interval:
    """A range, such as a 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A mean with the standard deviation over ``count`` repetitions (seeds)."""

    mean: float
    std: float | None = None
    count: int = 1


@dataclass(frozen=True)
class Missing:
    """A value that should be there and is not; the table says so instead of leaving a gap."""

    reason: str = "missing"


@dataclass(frozen=True)
class Marked:
    """A value with a mark that a note of the table explains; CSV has the bare value."""

    value: str | int | float
    mark: str = "*"


#: ``None`` is a value that does not apply, as the relative mIoU of the source itself.
Cell = str | int | float | Interval | Estimate | Marked | Missing | None


_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}  # fmt: skip


def _escape_latex(text: str) -> str:
    return "".join(_LATEX_ESCAPES.get(c, c) for c in text)


def _escape_markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


@dataclass(frozen=True)
class Table:
    """A table of values.

    Attributes:
        columns: Headings; the first column names the rows.
        rows: One tuple of cells a row, as long as ``columns``.
        title: Caption; may be empty.
        digits: Decimals of floats in Markdown, LaTeX and text.
        rules_before: Indices of rows that a line is drawn above (LaTeX, text and HTML).
        notes: Sentences below the table (not in CSV).

    Raises:
        ValueError: If a row has not one cell a column.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    digits: int = 2
    rules_before: Sequence[int] = field(default_factory=tuple)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"the row {row[0]!r} has {len(row)} cells, the table {len(self.columns)} "
                    f"columns: {list(self.columns)}"
                )

    def _write(self, cell: Cell, latex: bool = False) -> str:
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return "--" if latex else "-"
        if isinstance(cell, Missing):
            return cell.reason
        if isinstance(cell, Marked):
            return f"{self._write(cell.value, latex)} {cell.mark}"
        if isinstance(cell, Interval):
            low, high = (self._write(float(end), latex) for end in (cell.low, cell.high))
            return f"{low}--{high}" if latex else f"{low} to {high}"
        if isinstance(cell, Estimate):
            mean = self._write(float(cell.mean), latex)
            if cell.std is None:
                return mean
            std = self._write(float(cell.std), latex)
            return rf"${mean} \pm {std}$" if latex else f"{mean} ± {std}"
        return f"{cell:.{self.digits}f}" if isinstance(cell, float) else str(cell)

    def is_text(self, column: int) -> bool:
        """Whether a column holds words, and so is set to the left."""
        cells = [row[column] for row in self.rows]
        return any(isinstance(cell, str) for cell in cells)

    def strings(self) -> list[list[str]]:
        """The rows as plain text, for HTML."""
        return [[self._write(cell) for cell in row] for row in self.rows]

    def _padded(self, rows: Sequence[Sequence[str]], least: int = 1) -> list[list[str]]:
        """The cells at the width of their column, words to the left and numbers to the right."""
        widths = [max(least, *map(len, column)) for column in zip(*rows, strict=True)]
        text = [self.is_text(i) for i in range(len(self.columns))]
        return [
            [c.ljust(w) if t else c.rjust(w) for c, w, t in zip(row, widths, text, strict=True)]
            for row in rows
        ]

    def markdown(self) -> str:
        """GitHub's Markdown, columns padded so that the source reads well too."""
        rows = [self.columns, *self.strings()]
        rows = self._padded([[_escape_markdown(c) for c in row] for row in rows], least=3)
        rules = [
            "-" * (len(c) + 2) if self.is_text(i) else "-" * (len(c) + 1) + ":"
            for i, c in enumerate(rows[0])
        ]
        head, *body = (f"| {' | '.join(row)} |" for row in rows)
        title = [f"**{_escape_markdown(self.title)}**", ""] if self.title else []
        notes = [""] * bool(self.notes) + [_escape_markdown(note) for note in self.notes]
        return "\n".join([*title, head, f"|{'|'.join(rules)}|", *body, *notes]) + "\n"

    def text(self) -> str:
        """Aligned plain text for a terminal."""
        rows = self._padded([self.columns, *self.strings()])
        rule = "-" * len("  ".join(rows[0]))
        lines = [self.title] if self.title else []
        for index, row in enumerate(rows, -1):
            if index == 0 or (index > 0 and index in self.rules_before):
                lines.append(rule)
            lines.append("  ".join(row).rstrip())
        if not self.rows:
            lines.append(rule)
        return "\n".join([*lines, *self.notes]) + "\n"

    def latex(self) -> str:
        """A ``tabular`` with booktabs rules, to be put into a ``table`` of the paper."""
        alignment = "".join("l" if self.is_text(i) else "r" for i in range(len(self.columns)))
        lines = [f"% {self.title}"] if self.title else []
        lines += [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule"]
        lines += [" & ".join(map(_escape_latex, self.columns)) + r" \\", r"\midrule"]
        for index, row in enumerate(self.rows):
            if index and index in self.rules_before:
                lines.append(r"\midrule")
            cells = (
                # numbers and their intervals are LaTeX already, names are not
                self._write(c, latex=True)
                if isinstance(c, Interval | Estimate | float) or c is None
                else _escape_latex(self._write(c, latex=True))
                for c in row
            )
            lines.append(" & ".join(cells) + r" \\")
        notes = [f"% {note}" for note in self.notes]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *notes]) + "\n"

    def csv(self) -> str:
        """Comma-separated values in full precision.

        A column with intervals becomes two, ``... low`` and ``... high``; one with estimates
        becomes three, the mean, ``... std`` and ``... count``. What does not apply is empty; what
        is missing says why.
        """
        parts = [self._csv_parts(i) for i in range(len(self.columns))]
        heads = [
            f"{c} {p}".strip() for c, names in zip(self.columns, parts, strict=True) for p in names
        ]
        rows = [
            [v for c, names in zip(row, parts, strict=True) for v in _csv_values(c, names)]
            for row in self.rows
        ]
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([heads, *rows])
        return stream.getvalue()

    def _csv_parts(self, column: int) -> tuple[str, ...]:
        cells = [row[column] for row in self.rows]
        if any(isinstance(cell, Interval) for cell in cells):
            return ("low", "high")
        if any(isinstance(cell, Estimate) for cell in cells):
            return ("", "std", "count")
        return ("",)


def _csv_values(cell: Cell, parts: Sequence[str]) -> list[str | int | float]:
    if isinstance(cell, Interval):
        return [cell.low, cell.high]
    if isinstance(cell, Estimate):
        return [cell.mean, "" if cell.std is None else cell.std, cell.count]
    if isinstance(cell, Marked):
        cell = cell.value
    if isinstance(cell, Missing):
        return [cell.reason] * len(parts)
    empty = cell is None or (isinstance(cell, float) and math.isnan(cell))
    return ["" if empty else cell, *[""] * (len(parts) - 1)]
