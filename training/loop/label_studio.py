"""Labelling in Label Studio: tasks to import, the labelling interface, and what its JSON export says.

Formats: https://labelstud.io/guide/task_format and https://labelstud.io/tags/choices. Each label is a group of choices
of which one may be taken; a choice's alias, its score, is what comes back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from client.errors import InvalidInputError
from training.data import LabelSet
from training.loop.answers import DECISION, Answer, Task


def tasks_json(tasks: Sequence[Task]) -> str:
    """The tasks as Label Studio imports them."""
    rows = [{"data": {"id": t.id, "text": t.text, "shop": t.shop, "category": t.category}} for t in tasks]
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def interface_xml(label_set: LabelSet) -> str:
    """The labelling interface of a label set; without the overall label nothing can be submitted."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Text", name="text", value="$text")
    for label in label_set.all_labels:
        ElementTree.SubElement(view, "Header", value=label, size="5")
        options = {"name": label, "toName": "text", "choice": "single", "showInline": "true"}
        if label == label_set.overall:
            options |= {"required": "true", "requiredMessage": f"{label}: of every review"}
        choices = ElementTree.SubElement(view, "Choices", options)
        for name, score in zip(label_set.sentiments, label_set.sentiment_scores, strict=True):
            ElementTree.SubElement(choices, "Choice", value=name, alias=str(score))
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def read_export(path: Path, number: int) -> list[Answer]:
    """The annotations of a JSON export, a cancelled one left out; one that is malformed has its ``problem``.

    ``number`` is the file's place among all files. The labeller is who completed the annotation; one that is marked as
    ground truth is a decision.

    Raises:
        InvalidInputError: the file cannot be read, or is no list of tasks.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot open: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInputError(f"{path}: not JSON: {error}; export from Label Studio as JSON") from None
    if not isinstance(tasks, list):
        raise InvalidInputError(f"{path}: not a list of tasks; export from Label Studio as JSON")
    answers = []
    for place, task in enumerate(tasks, 1):
        where = f"{path.name}: task {place}"
        try:
            data, annotations = task["data"], task["annotations"]
            review_id, text = str(data["id"]), data.get("text")
            kept = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
        except (TypeError, KeyError, AttributeError) as error:
            problem = f"cannot be read: {error!r}; export as JSON, not JSON-MIN"
            answers.append(Answer(where, number, "", None, path.stem, problem=problem))
            continue
        answers += [_answer(annotation, review_id, text, where, number) for annotation in kept]
    return answers


def _answer(annotation: dict[str, Any], review_id: str, text: str | None, where: str, number: int) -> Answer:
    labeller = DECISION if annotation.get("ground_truth") else _name(annotation.get("completed_by"))
    cells: dict[str, str] = {}
    problem = ""
    try:
        for result in annotation["result"]:
            label, chosen = result["from_name"], result["value"]["choices"]
            if len(chosen) != 1 or label in cells:
                problem = f"{label}: more than one choice"
            cells[str(label)] = str(chosen[0])
    except (TypeError, KeyError, IndexError) as error:
        problem = f"cannot be read: {error!r}; use the labelling interface that was exported"
    return Answer(where, number, review_id, text if isinstance(text, str) else None, labeller, cells, problem)


def _name(completed_by: Any) -> str:
    """Exports tell the labeller as a number or as an object, by version and settings."""
    if isinstance(completed_by, dict):
        return str(completed_by.get("email") or completed_by.get("id") or "label-studio")
    return "label-studio" if completed_by is None else str(completed_by)
