"""The labels of a run: what goes out to labellers, and what comes back and holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from client.whole_files import write_whole
from training.data import LabelSet
from training.loop import label_studio, sheets
from training.loop.answers import DECISION, Answer, Task
from training.loop.files import make_folder, read_rows, write_rows
from training.loop.settings import Run
from training.spreadsheets import ENCODING

SELECTED, LABELLING, ANSWERS = "selected.jsonl", "labelling", "answers.jsonl"
LABELLED, RETURNED = "labelled.jsonl", "returned.csv"


class WaitingForLabels(Exception):  # noqa: N818 - nothing is wrong
    """The run cannot go on without labels; the message says what to do."""


def ask(run: Run) -> dict[str, Any]:
    """Write what labellers get: a sheet each, and the tasks and the interface for Label Studio.

    The order is shuffled, so that no strategy's reviews stand in a row. Why a review was chosen is kept from the
    labellers: it would tell them what the present model thinks.
    """
    label_set, tasks = label_set_of(run), _tasks(run)
    settings, folder = run.settings, run.folder / LABELLING
    make_folder(folder)
    order = np.random.default_rng(settings.seed).permutation(len(tasks))
    shared = round(settings.overlap * len(tasks)) if settings.labellers > 1 else 0
    parts: list[list[Task]] = [[] for _ in range(settings.labellers)]
    for place, row in enumerate(order):
        for turn in range(2 if place < shared else 1):
            parts[(place + turn) % settings.labellers].append(tasks[row])
    names = ["to_label.csv"] if len(parts) == 1 else [f"to_label-{number}.csv" for number in range(1, len(parts) + 1)]
    for number, (name, part) in enumerate(zip(names, parts, strict=True), 1):
        labeller = "" if len(parts) == 1 else str(number)
        text = sheets.sheet([(task, labeller, "", {}) for task in part], label_set)
        write_whole(folder / name, text, ENCODING)
    write_whole(folder / "label_studio_tasks.json", label_studio.tasks_json([tasks[row] for row in order]))
    write_whole(folder / "label_studio_interface.xml", label_studio.interface_xml(label_set))
    return {"files": [f"{LABELLING}/{name}" for name in names], "twice": shared}


def read_answers(run: Run, files: Iterable[Path]) -> list[Answer]:
    """Read files that labellers gave back: CSV sheets and JSON exports of Label Studio.

    Raises:
        InvalidInputError: a file cannot be read at all.
    """
    before = max((answer.file for answer in _answers(run)), default=0)
    answers: list[Answer] = []
    for number, path in enumerate(files, before + 1):
        read = label_studio.read_export if path.suffix.lower() == ".json" else sheets.read_sheet
        answers += read(path, number)
    return answers


def add_answers(run: Run, answers: Iterable[Answer]) -> None:
    """Write answers down, behind those from before."""
    write_rows(run.folder / ANSWERS, map(asdict, [*_answers(run), *answers]))


def take_labels(run: Run) -> dict[str, Any]:
    """Check the answers so far; keep what holds, and write what does not to a sheet to be decided.

    Raises:
        WaitingForLabels: there are no answers yet, or fewer labels hold than are enough.
    """
    from training.audit.rules import check_rules, load_rules
    from training.loop.quality import check

    command = f"python -m training.loop run {run.folder} --labels"
    answers = _answers(run)
    if not answers:
        raise WaitingForLabels(
            f"label the reviews in {run.folder / LABELLING} (sheets for Excel, or a project for Label Studio), "
            f"then give the files back:\n  {command} FILE ..."
        )
    label_set, tasks = label_set_of(run), _tasks(run)
    rules = load_rules(Path(run.settings.rules), label_set) if run.settings.rules else ()

    def suspicions(text: str, scores: Mapping[str, int]) -> list[str]:
        return [
            f"{f.keyword}: {f.why}" + (f" ({f.suggestion}?)" if f.suggestion else "")
            for f in check_rules(rules, text, scores)
        ]

    checked = check(tasks, answers, label_set, suspicions)
    kept = [{**vars(k.task), "labels": dict(k.scores)} for k in checked.kept]
    write_rows(run.folder / LABELLED, kept)
    rows = [(r.task, DECISION, "; ".join(map(str, r.problems)), r.cells) for r in checked.returned]
    write_whole(run.folder / RETURNED, sheets.sheet(rows, label_set), ENCODING)
    result = {
        "asked": len(tasks),
        "kept": len(checked.kept),
        "returned": len(checked.returned),
        "returned_because": dict(Counter(p.kind for r in checked.returned for p in r.problems)),
        "row_problems": [f"{p.where}: {p}" for p in checked.rows],
        "labelled_twice": checked.twice,
        "keyword_agreement": {name: asdict(a) for name, a in checked.keywords.items()},
        "sentiment_agreement": asdict(checked.sentiment) if checked.sentiment else None,
        "support": dict(Counter(name for k in checked.kept for name in k.scores)),
    }
    if not kept or (len(kept) < run.settings.enough * len(tasks) and not run.accept):
        run.waiting = {"labels": result}
        run.save()
        raise WaitingForLabels(
            f"{len(kept)} of {len(tasks)} reviews have labels that hold, and {run.settings.enough:.0%} are enough. The "
            f"others are in {run.folder / RETURNED}, each with its problem: correct or confirm them there and\n"
            f"  {command} {run.folder / RETURNED}\nor go on with what there is:\n"
            f"  python -m training.loop run {run.folder} --accept"
        )
    return result


def label_set_of(run: Run) -> LabelSet:
    """The run's label set."""
    return LabelSet.load(Path(run.settings.label_set))


def _tasks(run: Run) -> list[Task]:
    fields = ("id", "text", "shop", "category")
    return [Task(**{name: row[name] for name in fields}) for row in read_rows(run.folder / SELECTED)]


def _answers(run: Run) -> list[Answer]:
    path = run.folder / ANSWERS
    return [Answer(**row) for row in read_rows(path)] if path.is_file() else []
