"""Checks of the labels that come back: which reviews are kept, and which are returned, each with its problem.

One bad row never ends the batch. A review is kept when its labels are valid, its labellers agree, and no rule of the
guideline suspects them. A *decision* on it (an answer whose labeller is ``decision``) settles disagreement and
suspicion, and has to be valid only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from training.data import LabelSet
from training.loop.agreement import Agreement, Labelled, keyword_agreement, sentiment_agreement
from training.loop.answers import DECISION, Answer, Task, parse_score, plain, same_text

NOT_LABELLED, UNKNOWN_REVIEW, UNREADABLE = "not labelled", "unknown review", "unreadable row"
TEXT_CHANGED, UNKNOWN_LABEL, UNKNOWN_SCORE = "text changed", "unknown label", "unknown score"
NO_OVERALL, CONTRADICTION = "overall label missing", "contradictory rows"
DISAGREEMENT, GUIDELINE = "labellers disagree", "guideline"

# A review's text and scores to what the guideline says against them.
RuleCheck = Callable[[str, Mapping[str, int]], Sequence[str]]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row or a review: a kind, which is counted, and the particulars."""

    kind: str
    detail: str = ""
    where: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


@dataclass(frozen=True)
class Kept:
    """A review with the labels that hold."""

    task: Task
    scores: Mapping[str, int]


@dataclass(frozen=True)
class Returned:
    """A review to be labelled again or decided on: why, and the cells as they are so far.

    Where labellers disagree, a cell holds what each said (``1/–``), which is no score: it has to be decided.
    """

    task: Task
    problems: tuple[Problem, ...]
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Checked:
    """What came of a batch.

    ``rows`` are the problems of single rows, also of rows that nobody asked for. ``twice`` is how many reviews two or
    more people labelled; on these, ``keywords`` and ``sentiment`` tell how far they agree.
    """

    kept: tuple[Kept, ...]
    returned: tuple[Returned, ...]
    rows: tuple[Problem, ...]
    twice: int
    keywords: Mapping[str, Agreement]
    sentiment: Agreement | None


@dataclass(frozen=True)
class _Reading:
    """A row that belongs to a review: its cells, the scores that they mean, and what is wrong with it."""

    file: int
    cells: Mapping[str, str]
    scores: Mapping[str, int]
    problems: tuple[Problem, ...]

    @property
    def is_blank(self) -> bool:
        return not self.scores and not self.problems


def check(tasks: Sequence[Task], answers: Sequence[Answer], label_set: LabelSet, rules: RuleCheck) -> Checked:
    """Check the answers of all files so far against what was asked.

    Where a labeller answered for a review in several files, the last one counts.
    """
    by_id = {task.id: task for task in tasks}
    # Spreadsheets turn an id like 007 into 7; the text still tells which review it is.
    by_text = {plain(task.text): task for task in tasks}
    rows: list[Problem] = []
    readings: dict[str, dict[str, list[_Reading]]] = {task.id: {} for task in tasks}
    for answer in answers:
        task = by_id.get(answer.id) or by_text.get(plain(answer.text or ""))
        if task is not None:
            readings[task.id].setdefault(answer.labeller, []).append(_read(answer, task, label_set))
        elif answer.problem:
            rows.append(Problem(UNREADABLE, answer.problem, answer.where))
        else:
            rows.append(Problem(UNKNOWN_REVIEW, f"id {answer.id!r} was not asked for", answer.where))

    verdicts: list[Kept | Returned] = []
    twice: list[Labelled] = []
    for task in tasks:
        latest = {who: _latest(read) for who, read in readings[task.id].items() if not all(r.is_blank for r in read)}
        rows += [problem for reading in latest.values() for problem in reading.problems]
        valid = {who: reading.scores for who, reading in latest.items() if not reading.problems and who != DECISION}
        if len(valid) > 1:
            twice.append(valid)
        verdicts.append(_verdict(task, latest, valid, label_set, rules))
    return Checked(
        tuple(v for v in verdicts if isinstance(v, Kept)),
        tuple(v for v in verdicts if isinstance(v, Returned)),
        tuple(rows),
        len(twice),
        keyword_agreement(twice, label_set),
        sentiment_agreement(twice, label_set),
    )


def _read(answer: Answer, task: Task, label_set: LabelSet) -> _Reading:
    scores: dict[str, int] = {}
    found: list[tuple[str, str]] = [(UNREADABLE, answer.problem)] if answer.problem else []
    if answer.text is not None and not same_text(answer.text, task.text):
        found.append((TEXT_CHANGED, "labels are of the text that was asked"))
    for name, value in answer.cells.items():
        score = parse_score(value, label_set)
        if name not in label_set.all_labels:
            found.append((UNKNOWN_LABEL, f"{name!r} is not in the label set"))
        elif score is None:
            allowed = ", ".join(map(str, label_set.sentiment_scores))
            found.append((UNKNOWN_SCORE, f"{name}: {value!r} is not one of {allowed}"))
        else:
            scores[name] = score
    if answer.cells and label_set.overall not in answer.cells:
        found.append((NO_OVERALL, f"{label_set.overall} is true of every review"))
    problems = tuple(Problem(kind, detail, answer.where) for kind, detail in found)
    return _Reading(answer.file, answer.cells, scores, problems)


def _latest(readings: Sequence[_Reading]) -> _Reading:
    """What a labeller says of a review in the last file that says something."""
    said = [reading for reading in readings if not reading.is_blank]
    last = [reading for reading in said if reading.file == said[-1].file]
    if any(reading.scores != last[0].scores for reading in last):
        problem = Problem(CONTRADICTION, "the review stands twice in a file, with different labels")
        return _Reading(last[0].file, {}, {}, (problem,))
    return last[0]


def _verdict(
    task: Task,
    latest: Mapping[str, _Reading],
    valid: Mapping[str, Mapping[str, int]],
    label_set: LabelSet,
    rules: RuleCheck,
) -> Kept | Returned:
    if decision := latest.get(DECISION):
        return Returned(task, decision.problems, decision.cells) if decision.problems else Kept(task, decision.scores)
    if not latest:
        return Returned(task, (Problem(NOT_LABELLED),), {})
    if not valid:
        reading = next(iter(latest.values()))
        return Returned(task, reading.problems, reading.cells)
    first, *others = valid.values()
    if any(other != first for other in others):
        names = [name for name in label_set.all_labels if any(name in scores for scores in valid.values())]
        said = {name: [str(scores.get(name, "–")) for scores in valid.values()] for name in names}
        differing = [f"{name} {'/'.join(values)}" for name, values in said.items() if len(set(values)) > 1]
        cells = {name: "/".join(values if len(set(values)) > 1 else values[:1]) for name, values in said.items()}
        return Returned(task, (Problem(DISAGREEMENT, f"{', '.join(valid)}: {'; '.join(differing)}"),), cells)
    if suspicions := rules(task.text, first):
        cells = {name: str(score) for name, score in first.items()}
        return Returned(task, tuple(Problem(GUIDELINE, why) for why in suspicions), cells)
    return Kept(task, first)
