"""The measured table: as markdown for people, as CSV and JSON for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from client.errors import InvalidInputError
from client.whole_files import write_whole
from export.compression.gate import Bounds
from export.compression.latency import SHAPES, THREADS
from export.compression.measure import Measurement

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
MEGABYTE = 1_000_000


def markdown(measurements: Sequence[Measurement], bounds: Bounds) -> str:
    """Two tables, a variant a row: all figures with what the gate says, and F1 by keyword. The first is the reference.

    ``measurements`` are of one reference, which comes first.
    """
    reference = measurements[0]
    heads = ["variant", "MB", "MB, gzip", "keywords micro F1", "macro F1", "sentiment accuracy", "macro F1"]
    heads += ["same highlight", "batch mates", *(f"speed {shape}" for shape in SHAPES), "gate"]
    rows = [
        [
            f"`{found.variant}`",
            f"{found.size / MEGABYTE:.1f}",
            f"{found.compressed_size / MEGABYTE:.1f}",
            f"{found.keyword_micro:.3f}",
            f"{found.keyword_macro:.3f}",
            f"{found.sentiment_accuracy:.3f}",
            f"{found.sentiment_macro:.3f}",
            f"{found.highlight_agreement:.3f}",
            f"{found.company:.0e}",
            *(f"{found.speedup[shape]:.2f}x" for shape in SHAPES),
            _verdict(found, reference, bounds),
        ]
        for found in measurements
    ]
    keywords = list(reference.by_keyword)
    by_keyword = [
        [f"`{found.variant}`", *(f"{found.by_keyword[name]:.3f}" for name in keywords)] for found in measurements
    ]
    times = ", ".join(f"{reference.milliseconds[shape]:.1f} ms for {shape}" for shape in SHAPES)
    return (
        f"{_table(heads, rows)}\n\nSpeed is of the keyword graph, against `{reference.variant}`, which took {times} "
        f"(rows x tokens, {THREADS} threads, both in turn, in changing order, medians).\n\n"
        f"F1 by keyword:\n\n{_table(['variant', *keywords], by_keyword)}\n"
    )


def _verdict(found: Measurement, reference: Measurement, bounds: Bounds) -> str:
    if found is reference:
        return "reference"
    failures = bounds.failures(found, reference)
    return f"refused: {', '.join(failures)}" if failures else "passes"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def csv_text(measurements: Sequence[Measurement]) -> str:
    """A line for each figure: ``variant,figure,value``, with figures such as ``by_keyword: 배송``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("variant", "figure", "value"))
    for found in measurements:
        for figure, value in asdict(found).items():
            parts = {f"{figure}: {name}": part for name, part in value.items()} if isinstance(value, dict) else None
            writer.writerows(
                (found.variant, *line) for line in (parts or {figure: value}).items() if figure != "variant"
            )
    return out.getvalue()


def update(document: Path, tables: str) -> None:
    """Replace what stands between the two markers of a markdown file.

    Raises:
        InvalidInputError: the file cannot be read or written, or the markers are not there.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"--update {document}: cannot be read: {error.strerror}") from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InvalidInputError(f"--update {document}: the lines {BEGIN} and {END} are not there; add them")
    write_whole(document, f"{before}{BEGIN}\n{tables}{END}{after}")
