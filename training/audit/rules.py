"""Rules of a tagging guideline as checks: a data file, and the small engine that reads it.

A rule suspects a keyword of a review from the review's words alone. `training/label_sets/fashion_rules.json` is the
example: ``words`` names lists of regular expressions, which any rule may quote as ``@name``, and each rule has

| field | what |
|---|---|
| ``name`` | told with every finding |
| ``keyword`` | the label that the rule judges |
| ``suspect`` | ``tagged``: suspicious where the review carries the keyword; ``missing``: where it does not |
| ``when_any`` | at least one of these expressions is found in the review; left out: every review |
| ``unless_any`` | none of these is |
| ``suggest`` | the keyword that such words belong to (``tagged`` rules only, may be left out) |
| ``why`` | the guideline's reason, in a sentence for people |
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from client.errors import InvalidInputError
from training.data import LabelSet

Suspect = Literal["tagged", "missing"]
Action = Literal["remove", "add"]

_REQUIRED = frozenset({"name", "keyword", "suspect", "why"})
_OPTIONAL = frozenset({"when_any", "unless_any", "suggest"})


@dataclass(frozen=True)
class Rule:
    """One check; see the module for what its fields mean."""

    name: str
    keyword: str
    suspect: Suspect
    when_any: re.Pattern[str] | None
    unless_any: re.Pattern[str] | None
    suggest: str | None
    why: str

    def check(self, text: str, scores: Mapping[str, int]) -> Finding | None:
        """What the rule has to say about a review with these labels, if anything."""
        if (self.keyword in scores) != (self.suspect == "tagged"):
            return None
        found = self.when_any.search(text) if self.when_any else None
        if self.when_any and not found:
            return None
        if self.unless_any and self.unless_any.search(text):
            return None
        return Finding(
            keyword=self.keyword,
            suggestion=self.suggest,
            why=self.why,
            action="remove" if self.suspect == "tagged" else "add",
            rule=self.name,
            span=found.span() if found else None,
        )


@dataclass(frozen=True)
class Finding:
    """A label that a rule suspects.

    ``action`` says what the guideline asks for: ``remove`` a keyword that is tagged (``suggestion`` is then the keyword
    that the words belong to, or None) or ``add`` one that is not. ``span`` are the code points of the words that
    made the rule speak, None where their absence did.
    """

    keyword: str
    suggestion: str | None
    why: str
    action: Action
    rule: str
    span: tuple[int, int] | None


def check_rules(rules: Iterable[Rule], text: str, scores: Mapping[str, int]) -> list[Finding]:
    """Every finding of ``rules`` in a review with the labels ``scores``, in the order of the rules."""
    return [finding for rule in rules if (finding := rule.check(text, scores))]


def rules_beside(label_set_file: Path) -> Path | None:
    """The rules that lie beside a label set (``fashion.json``: ``fashion_rules.json``), None if there are none."""
    path = label_set_file.with_name(f"{label_set_file.stem}_rules.json")
    return path if path.is_file() else None


def load_rules(path: Path, label_set: LabelSet) -> tuple[Rule, ...]:
    """Read a rules file.

    Raises:
        InvalidInputError: the file cannot be read, or names the rule, the field and the value that cannot be used.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot read the rules: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInputError(f"{path}: broken JSON: {error}") from None
    if not isinstance(values, dict) or not isinstance(values.get("rules"), list):
        raise InvalidInputError(f"{path}: no list 'rules'; see training/label_sets/fashion_rules.json")
    words = values.get("words", {})
    if not isinstance(words, dict):
        raise InvalidInputError(f"{path}: words: {words!r} is not an object of lists")
    rules = tuple(_rule(row, f"{path}: rule {i}", words, label_set) for i, row in enumerate(values["rules"], 1))
    names = [rule.name for rule in rules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInputError(f"{path}: name: {', '.join(twice)} stands more than once; name each rule its own")
    return rules


def _rule(row: Any, where: str, words: Mapping[str, Any], label_set: LabelSet) -> Rule:
    if not isinstance(row, dict):
        raise InvalidInputError(f"{where}: {row!r} is not an object")
    if missing := sorted(_REQUIRED - row.keys()):
        raise InvalidInputError(f"{where}: {', '.join(missing)}: missing")
    if unknown := sorted(row.keys() - _REQUIRED - _OPTIONAL):
        allowed = ", ".join(sorted(_REQUIRED | _OPTIONAL))
        raise InvalidInputError(f"{where}: {', '.join(unknown)}: no field of a rule; there are {allowed}")
    where = f"{where} ({row['name']})"
    for field in ("name", "why"):
        if not isinstance(row[field], str) or not row[field].strip():
            raise InvalidInputError(f"{where}: {field}: {row[field]!r} is not a text")
    if row["suspect"] not in get_args(Suspect):
        raise InvalidInputError(f"{where}: suspect: {row['suspect']!r} is not one of {', '.join(get_args(Suspect))}")
    for field in ("keyword", "suggest"):
        if row.get(field) is not None and row[field] not in label_set.all_labels:
            raise InvalidInputError(
                f"{where}: {field}: {row[field]!r} is not in the label set {', '.join(label_set.all_labels)}; "
                "correct it, or give rules written for this label set"
            )
    suggest = row.get("suggest")
    if suggest and (row["suspect"] == "missing" or suggest == row["keyword"]):
        raise InvalidInputError(f"{where}: suggest: {suggest!r}: only a tagged keyword can belong to another one")
    return Rule(
        name=row["name"],
        keyword=row["keyword"],
        suspect=row["suspect"],
        when_any=_any_of(row.get("when_any"), f"{where}: when_any", words),
        unless_any=_any_of(row.get("unless_any"), f"{where}: unless_any", words),
        suggest=suggest,
        why=row["why"],
    )


def _any_of(expressions: Any, where: str, words: Mapping[str, Any]) -> re.Pattern[str] | None:
    """One expression that matches where any of the list does; ``@name`` stands for the list ``words[name]``."""
    if expressions is None:
        return None
    parts: list[str] = []
    for expression in _texts(expressions, where):
        if not expression.startswith("@"):
            parts.append(expression)
        elif expression[1:] in words:
            parts += _texts(words[expression[1:]], f"{where}: {expression}")
        else:
            raise InvalidInputError(f"{where}: {expression}: no such list in 'words' ({', '.join(words)})")
    for part in parts:
        try:
            re.compile(part)
        except re.error as error:
            raise InvalidInputError(f"{where}: {part!r} is not a regular expression: {error}") from None
    return re.compile("|".join(f"(?:{part})" for part in parts))


def _texts(values: Any, where: str) -> Sequence[str]:
    if not isinstance(values, list) or not values or not all(isinstance(v, str) and v for v in values):
        raise InvalidInputError(f"{where}: {values!r} is not a list of regular expressions")
    return values
