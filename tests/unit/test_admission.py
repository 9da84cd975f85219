from __future__ import annotations

import math

import pytest

from client.admission import LONGEST_RETRY_S, UNKNOWN_RETRY_S, TokenAdmission, TokenEstimate, Work
from client.encoding import Encoder
from client.errors import InvalidInputError, OverloadedError
from client.options import AnalysisOptions
from client.token_rate import HALF_LIFE_S, TokenRate
from tests.unit.conftest import REVIEWS


def of(tokens: int, *, reviews: int = 1, rows: int = 1) -> Work:
    return Work(reviews, rows, tokens)


def refused(admission: TokenAdmission, tokens: int, seconds_left: float = math.inf) -> float:
    """The retry hint of a call that does not fit."""
    with pytest.raises(OverloadedError) as error, admission.admit(of(tokens), seconds_left):
        raise AssertionError
    return error.value.retry_after_s


def test_calls_are_admitted_up_to_the_limit_and_leave_room_when_they_end() -> None:
    admission = TokenAdmission(100, lambda: 10.0)
    with admission.admit(of(60)):
        with admission.admit(of(40)):
            assert admission.held == 100
            assert refused(admission, 1) == pytest.approx(0.1)
        with pytest.raises(KeyError), admission.admit(of(40)):
            raise KeyError
        assert admission.held == 60
    assert admission.held == 0


@pytest.mark.parametrize(
    ("tokens", "wait_s"),
    [(60, 2), (1000, 6)],  # 20 too many, 10 a second; when all 60 are done
)
def test_the_retry_hint_is_the_time_until_there_is_room(tokens: int, wait_s: float) -> None:
    admission = TokenAdmission(100, lambda: 10.0, clock=lambda: 5.0)
    with admission.admit(of(60)):
        assert refused(admission, tokens) == pytest.approx(wait_s)


def test_callers_who_are_refused_together_are_sent_away_for_different_times() -> None:
    now = 5.0
    admission = TokenAdmission(100, lambda: 10.0, clock=lambda: now)
    with admission.admit(of(100)):
        assert [refused(admission, 30) for _ in range(4)] == pytest.approx([3, 6, 9, 10])  # 10 s is a full queue
        now += 20
        assert refused(admission, 30) == pytest.approx(3), "a promise ends with its time"


def test_a_call_above_the_limit_is_admitted_alone() -> None:
    admission = TokenAdmission(100, lambda: 10.0)
    with admission.admit(of(1)):
        refused(admission, 500)
    with admission.admit(of(500)):
        refused(admission, 1)
    with pytest.raises(InvalidInputError, match=r"^reviews: 2 of them .* 500 tokens .* 100 at most .* send fewer"):
        admission.admit(of(500, reviews=2)).__enter__()
    with admission.admit(of(100, reviews=2)):
        assert admission.held == 100


def test_computed_rows_make_room_before_the_call_ends() -> None:
    admission = TokenAdmission(100, lambda: 10.0)
    with admission.admit(of(90, rows=9)) as claim:
        refused(admission, 20)
        claim.computed(1)
        assert admission.held == 80
        with admission.admit(of(20)):
            refused(admission, 1)
        claim.computed(1000)  # more than was estimated
        assert admission.held == 0
    assert admission.held == 0


def test_a_call_is_refused_that_others_keep_waiting_beyond_its_deadline() -> None:
    rate = 10.0
    admission = TokenAdmission(1000, lambda: rate)
    with admission.admit(of(500), seconds_left=0.001):  # nobody else is there: its own work is its own matter
        with admission.admit(of(20), seconds_left=2.1):  # turns are taken: it waits for 20 of the 500
            pass
        assert refused(admission, 20, seconds_left=1.5) == pytest.approx(0.5)
        with admission.admit(of(20)):
            assert refused(admission, 480, seconds_left=48) == pytest.approx(2)  # behind as much of both
        rate = 0.0
        with admission.admit(of(20), seconds_left=0.001):  # who knows
            pass


def test_the_retry_hint_is_bounded() -> None:
    for rate, expected in ((0.0, UNKNOWN_RETRY_S), (1e-6, LONGEST_RETRY_S)):
        admission = TokenAdmission(100, lambda rate=rate: rate)  # type: ignore[misc]
        with admission.admit(of(100)):
            assert refused(admission, 50) == expected


def test_the_estimate_counts_masks_and_skips_what_is_refused(encoder: Encoder) -> None:
    estimate = TokenEstimate(encoder.max_length)
    options = AnalysisOptions(max_characters=30)
    plain = estimate.work(["가나 다라"], options, masks=False)
    assert plain == Work(reviews=1, rows=1, tokens=math.ceil(5 * 0.6 + 2))
    masked = Work(reviews=1, rows=3, tokens=3 * plain.tokens)
    for blank in " \t\n\u3000":
        assert estimate.work([f"가나{blank}다라"], options, masks=True) == masked
    assert estimate.work(["가" * 31], options, masks=True) == Work(reviews=1, rows=0, tokens=0)
    long = [" ".join("가" * 100)]
    exact, fast = (estimate.work(long, AnalysisOptions(highlight=mode), masks=True) for mode in ("exact", "fast"))
    assert fast.tokens < exact.tokens / 3
    assert fast.rows < exact.rows / 3
    assert exact.tokens < 110 * encoder.max_length + 200  # a row is a window at most


def test_the_estimate_learns_the_tokenizers_ratio(encoder: Encoder) -> None:
    estimate = TokenEstimate(encoder.max_length)
    encoded = [encoder.encode(text) for text in REVIEWS]
    for _ in range(5):
        estimate.learn(encoded)
    exact = sum(len(review.input_ids) + 2 for review in encoded)
    assert estimate.work(REVIEWS, AnalysisOptions(), masks=False).tokens == pytest.approx(exact, rel=0.05)


def test_the_rate_is_over_busy_time_and_follows_changes() -> None:
    rate = TokenRate()
    assert rate.tokens_per_second == 0
    rate.started(0, idle=True)
    rate.started(0.5, idle=False)
    rate.finished(1, 100)
    rate.finished(2, 100)
    assert rate.tokens_per_second == pytest.approx(100)
    rate.started(1000, idle=True)  # the idle time between does not count
    rate.finished(1001, 100)
    assert rate.tokens_per_second == pytest.approx(100, rel=0.01)
    for second in range(1001, 1001 + int(5 * HALF_LIFE_S)):
        rate.finished(second + 1, 300)
    assert rate.tokens_per_second == pytest.approx(300, rel=0.05)
