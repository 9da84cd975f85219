"""Rendering: analyses to text, each as it comes. Only the table is for people; the other formats are exact data."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Callable
from typing import Protocol, TextIO

from reviewlens.v1.review_analysis_pb2 import KeywordAnalysis, ReviewAnalysis
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from client.results import to_dict

CSV_COLUMNS = ("id", "keyword", "probability", "sentiment", "score", "highlight", "start", "end", "text", "error")

# Of a text that could not be analyzed the table shows the beginning: it may be a file's worth.
FAILED_CHARACTERS = 200

# Marks that reorder the text around them on a terminal.
_REORDERING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


class Renderer(Protocol):
    """Writes one analysis at a time; ``close`` writes what the format ends with and leaves the stream open."""

    def write(self, analysis: ReviewAnalysis) -> None: ...

    def close(self) -> None: ...


class JsonLinesRenderer:
    """One JSON object a line: the proto JSON mapping of ``ReviewAnalysis`` in snake_case."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, analysis: ReviewAnalysis) -> None:
        self._out.write(json.dumps(to_dict(analysis), ensure_ascii=False) + "\n")

    def close(self) -> None:
        pass


class JsonRenderer:
    """The same objects as one JSON array, indented."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._separator = "[\n"

    def write(self, analysis: ReviewAnalysis) -> None:
        # Newlines within strings are escaped, so these are the indentation's own.
        text = json.dumps(to_dict(analysis), ensure_ascii=False, indent=2).replace("\n", "\n  ")
        self._out.write(f"{self._separator}  {text}")
        self._separator = ",\n"

    def close(self) -> None:
        self._out.write("[]\n" if self._separator == "[\n" else "\n]\n")


class CsvRenderer:
    """A row for each review and keyword with the keyword's strongest highlight; a failed review is one row."""

    def __init__(self, out: TextIO) -> None:
        self._writer = csv.DictWriter(out, CSV_COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        self._writer.writeheader()

    def write(self, analysis: ReviewAnalysis) -> None:
        values = to_dict(analysis)
        if analysis.HasField("error"):
            self._writer.writerow(values | {"error": f"{analysis.error.code}: {analysis.error.message}"})
        for keyword in values["keywords"]:
            highlight = next(iter(keyword["highlights"]), {"text": "", "start": "", "end": ""})
            place = {"highlight": highlight["text"], "start": highlight["start"], "end": highlight["end"]}
            self._writer.writerow(values | keyword | place)

    def close(self) -> None:
        pass


class TableRenderer:
    """Each review with its highlighted words coloured by sentiment, above a table of its keywords."""

    def __init__(self, out: TextIO, color: bool = False) -> None:
        self._console = Console(
            file=out,
            force_terminal=color,
            color_system="standard" if color else None,
            no_color=not color,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def write(self, analysis: ReviewAnalysis) -> None:
        failed = analysis.HasField("error")
        is_cut = failed and len(analysis.text) > FAILED_CHARACTERS
        review = Text(_printable(analysis.text[:FAILED_CHARACTERS]) + "…" if is_cut else _printable(analysis.text))
        # Weakest keyword first: where two share a word, the most probable one colours it.
        for keyword in reversed(analysis.keywords):
            for highlight in keyword.highlights:
                review.stylize(_style(keyword.score), highlight.start, highlight.end)
        self._console.print(Text.assemble((f"{_printable(analysis.id)}  ", "dim"), review))
        if failed:
            self._console.print(
                f"   {_printable(analysis.error.code)}: {_printable(analysis.error.message)}", style="red"
            )
        else:
            self._console.print(Padding(_keyword_table(analysis), (0, 0, 0, 3), expand=False))
        self._console.print()

    def close(self) -> None:
        pass


RENDERERS: dict[str, Callable[[TextIO, bool], Renderer]] = {
    "table": TableRenderer,
    "json": lambda out, _: JsonRenderer(out),
    "jsonl": lambda out, _: JsonLinesRenderer(out),
    "csv": lambda out, _: CsvRenderer(out),
}


def _keyword_table(analysis: ReviewAnalysis) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("keyword", no_wrap=True)
    table.add_column("probability", justify="right")
    table.add_column("sentiment", no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("highlight (without it)", overflow="fold")
    for keyword in analysis.keywords:
        style = _style(keyword.score)
        table.add_row(
            keyword.keyword,
            f"{keyword.probability:.3f}",
            Text(keyword.sentiment, style),
            f"{keyword.score:+d}" if keyword.score else "0",
            _highlights(keyword, style),
        )
    return table


def _highlights(keyword: KeywordAnalysis, style: str) -> Text:
    cells = [
        Text.assemble((_printable(highlight.text), style), f" ({highlight.masked_probability:.3f})")
        for highlight in keyword.highlights
    ]
    return Text(", ").join(cells)


def _style(score: int) -> str:
    color = "green" if score > 0 else "red" if score < 0 else "yellow"
    return f"bold {color}"


def _printable(text: str) -> str:
    """The text for a terminal, as long in code points: control characters would run as commands, or move spans."""
    return "".join(_printable_character(character) for character in text)


def _printable_character(character: str) -> str:
    if character.isspace():
        return " "
    # Cc: escape sequences begin with one.
    is_command = unicodedata.category(character) == "Cc" or unicodedata.bidirectional(character) in _REORDERING
    return "\ufffd" if is_command else character
