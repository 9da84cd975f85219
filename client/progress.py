"""Progress and problems of a run, on standard error: a live line on a terminal, else a line every few seconds."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import Progress as LiveProgress
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from client.analyzer import Progress

LINE_EVERY_S = 5.0


class ProgressReport:
    """Shows what ``update`` is told while the ``with`` block runs."""

    def __init__(self, *, live: bool) -> None:
        """``live`` draws on the terminal; results must not be printed to the same one then."""
        self._console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
        self._started = self._reported = time.monotonic()
        self._live: LiveProgress | None = None
        if live and self._console.is_terminal:
            columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
            self._live = LiveProgress(*columns, console=self._console, transient=True)
            self._task = self._live.add_task("starting")

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Show how far the run is."""
        now = time.monotonic()
        rate = progress.rows / max(now - self._started, 1e-3)
        line = f"{progress.reviews:,} reviews analyzed, {progress.rows:,} rows computed ({rate:,.0f} a second)"
        if self._live:
            self._live.update(self._task, description=line)
        elif now - self._reported >= LINE_EVERY_S:
            self._reported = now
            self._console.print(line)

    def problem(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text)
