from __future__ import annotations

import math

import pytest

from client.errors import InvalidInputError
from client.options import AnalysisOptions, BatchingOptions


def test_options_are_keys_of_a_cache() -> None:
    first = AnalysisOptions(keywords=("핏",), thresholds={"핏": 0.3, "가격": 0.4})
    same = AnalysisOptions(keywords=("핏",), thresholds={"가격": 0.4, "핏": 0.3})
    other = AnalysisOptions(keywords=("핏",), thresholds={"핏": 0.3})
    assert len({first, same, other}) == 2
    assert first == same != other


def test_options_do_not_change_with_what_they_were_made_of() -> None:
    thresholds = {"핏": 0.3}
    options = AnalysisOptions(thresholds=thresholds)
    thresholds["핏"] = 0.9
    assert dict(options.thresholds) == {"핏": 0.3}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"highlight": "some"}, "options.highlight: 'some' is none of exact, fast, off"),
        ({"highlights_per_keyword": 0}, "options.highlights_per_keyword: 0 is not above 0"),
        ({"max_characters": -1}, "options.max_characters: -1 is not above 0"),
        ({"thresholds": {"핏": 1.0}}, r"options.thresholds\['핏'\]: 1.0 is not above 0 and below 1"),
        ({"thresholds": {"핏" * 65: 2.0}}, rf"options.thresholds\['{'핏' * 64}…'\]: 2.0 is not above 0 and below 1"),
        ({"thresholds": {"핏": math.nan}}, r"options.thresholds\['핏'\]: nan is not above 0 and below 1"),
    ],
)
def test_options_out_of_range_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        AnalysisOptions(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["token_budget", "max_rows", "concurrency", "request_timeout_s", "max_queued_tokens"])
def test_batching_out_of_range_is_named(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"batching.{name}: nan is not above 0"):
        BatchingOptions(**{name: math.nan})  # type: ignore[arg-type]
