"""Flags of a recipe: early stopping is offered where there are reviews to score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from training import finetune
from training.arguments import recipe_of
from training.audit import __main__ as audit
from training.audit import plant
from training.selection import simulate

STOPPING = ["--early-stopping", "2"]


@pytest.mark.parametrize(
    ("parse", "needed"),
    [
        (plant.parse_arguments, ["--keyword", "핏", "--train", "reviews.jsonl", "--output", "planted"]),
        (simulate.parse_arguments, ["--data", "reviews.jsonl", "--output", "simulation"]),
    ],
)
def test_early_stopping_is_refused_where_nothing_is_scored(
    parse: Callable[[Sequence[str]], Any], needed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse([*needed, *STOPPING])
    assert "unrecognized arguments: --early-stopping 2" in capsys.readouterr().err
    parse(needed)


def test_early_stopping_is_zero_unless_it_is_asked_for() -> None:
    simulated = simulate.parse_arguments(["--data", "reviews.jsonl", "--output", "simulation"])
    assert recipe_of(simulated).early_stopping == 0
    given = ["--train", "reviews.jsonl", "--output", "out", *STOPPING]
    assert finetune.parse_arguments(["keyword", *given]).recipe.early_stopping == 2
    assert audit.parse_arguments(given).recipe.early_stopping == 2
