"""Running the steps that are not done yet, with a report after each."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict

from client.whole_files import write_whole
from training.loop.labelling import WaitingForLabels
from training.loop.report import render
from training.loop.settings import Run
from training.loop.steps import STEPS

log = logging.getLogger("loop")

REPORT, REPORT_DATA = "report.md", "report.json"


def go_on(run: Run) -> str | None:
    """Do every step that is not finished; None at the end, or what the run waits for.

    Raises:
        ReviewLensError: a step failed; the ones before it stay finished.
    """
    for number, (name, step) in enumerate(STEPS.items(), 1):
        if name in run.finished:
            log.info("%d of %d, %s: done before", number, len(STEPS), name)
            continue
        log.info("%d of %d, %s", number, len(STEPS), name)
        began = time.monotonic()
        try:
            result = step(run)
        except WaitingForLabels as message:
            write_report(run)
            return str(message)
        run.finish(name, result, time.monotonic() - began)
        write_report(run)
    return None


def write_report(run: Run) -> None:
    """Write ``report.md`` for people and ``report.json`` with all that stands in it."""
    values = {"settings": asdict(run.settings), "steps": run.finished, "waiting": run.waiting}
    write_whole(run.folder / REPORT_DATA, json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    write_whole(run.folder / REPORT, render(run.settings, run.finished, run.waiting))
