"""Make tables that can be read in a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned table, which is also Markdown. Columns of figures are aligned to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    figures = [all(_is_figure(row[i]) for row in rows) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if figure else cell.ljust(width)
            for cell, width, figure in zip(cells, widths, figures, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = (f"{'-' * (w - 1)}:" if figure else "-" * w for w, figure in zip(widths, figures, strict=True))
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *map(line, rows)])


def _is_figure(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] in "−–" or cell.startswith("at most")
