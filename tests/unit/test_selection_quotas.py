"""Quotas: parsing, division, and how strategies share a round."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.errors import InvalidInputError
from training.selection.quotas import DEFAULT_QUOTAS, Strategy, combine, largest_remainder, parse_quotas


def wants(*rows: int) -> Strategy:
    """A strategy that proposes these rows, best first."""

    def choose(count: int, free: NDArray[np.bool_]) -> list[tuple[int, str]]:
        return [(row, f"row {row}") for row in rows if free[row]][:count]

    return choose


def test_quotas_are_parsed_into_the_order_of_choice() -> None:
    assert list(parse_quotas(["outliers=10%", "threshold=40%", "proportional=50"]).items()) == [
        ("proportional", 50),
        ("threshold", 40),
        ("outliers", 10),
    ]
    assert sum(DEFAULT_QUOTAS.values()) == 100


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["luck=100%"], "no strategy 'luck'; there are proportional, threshold"),
        (["threshold=50%", "threshold=50%"], "threshold stands twice"),
        (["threshold"], "'' is no percentage such as 40%"),
        (["threshold=many"], "'many' is no percentage"),
        (["threshold=-1%"], "not between 0% and 100%"),
        (["threshold=nan"], "not between 0% and 100%"),
        (["threshold=40%", "outliers=50%"], "the shares sum to 90 %; make it 100 %"),
    ],
)
def test_quotas_that_cannot_be_used_are_told(arguments: list[str], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        parse_quotas(arguments)


def test_largest_remainder_rounds_as_hamilton_did() -> None:
    # 10 seats for 4.15, 2.70, 2.05, 1.10: whole parts 4, 2, 2, 1, and the last seat to the fraction .70.
    assert largest_remainder([415, 270, 205, 110], 10) == [4, 3, 2, 1]
    assert largest_remainder([1, 1, 1], 2) == [1, 1, 0]
    assert largest_remainder([0, 0], 5) == [0, 0]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20).filter(any), st.integers(0, 500))
def test_largest_remainder_is_fair(shares: list[int], count: int) -> None:
    seats = largest_remainder(shares, count)
    assert sum(seats) == count
    for share, seat in zip(shares, seats, strict=True):
        due = share * count / sum(shares)
        assert int(due + 1e-6) <= seat <= int(due) + 1, "each gets what is due, rounded down or up"
        assert share or not seat


def test_each_row_is_chosen_once_by_the_first_strategy_that_wants_it() -> None:
    chosen = combine({"a": wants(3, 1, 2), "b": wants(1, 3, 4, 0)}, {"a": 50, "b": 50}, 4, 5)
    assert chosen == [(3, "a", "row 3"), (1, "a", "row 1"), (4, "b", "row 4"), (0, "b", "row 0")]


def test_what_a_strategy_leaves_goes_to_the_others(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    strategies = {"a": wants(*range(20)), "b": wants(20, 21), "c": wants(*range(30, 50))}
    chosen = combine(strategies, {"a": 25, "b": 50, "c": 12.5, "d": 12.5}, 14, 50)
    by_strategy = {name: [row for row, by, _ in chosen if by == name] for name in "abcd"}
    assert by_strategy == {"a": [*range(8)], "b": [20, 21], "c": [*range(30, 34)], "d": []}
    assert "b leaves 6 of its 8; they go to a, c" in caplog.messages
    assert "d has nothing to choose by; its quota goes to a, b, c" in caplog.messages


def test_only_what_is_drawn_of_the_whole_pool_is_called_a_sample() -> None:
    strategies = {"proportional": wants(*range(20)), "threshold": wants(20, 21)}
    quotas = {"proportional": 50, "threshold": 25, "vocabulary": 25}
    chosen = combine(strategies, quotas, 12, 50)
    # Without vocabulary, 8 and 4 are due from the beginning; threshold finds 2 of its 4.
    names = [name for _, name, _ in chosen]
    assert names == ["proportional"] * 8 + ["threshold"] * 2 + ["refill"] * 2


def test_a_round_may_stay_short_when_nobody_has_a_reason_for_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert len(combine({"a": wants(1), "b": wants(2)}, {"a": 50, "b": 50}, 6, 9)) == 2
    assert "they go to nobody" in caplog.text


@given(
    st.lists(st.lists(st.integers(0, 11), unique=True), min_size=1, max_size=4),
    st.lists(st.integers(1, 100), min_size=4, max_size=4),
    st.integers(1, 15),
)
def test_a_round_is_full_while_there_is_anything_to_choose(
    rankings: list[list[int]], shares: list[int], count: int
) -> None:
    strategies = {str(n): wants(*ranking) for n, ranking in enumerate(rankings)}
    chosen = combine(strategies, dict(zip(strategies, shares, strict=False)), count, 12)
    rows = [row for row, _, _ in chosen]
    assert len(set(rows)) == len(rows) == min(count, len(set().union(*rankings)))
    assert all(row in rankings[int(name)] for row, name, _ in chosen)
