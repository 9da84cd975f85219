"""Deadlines of 1 to 5 ms: answered as late, at once, and nothing of them stays behind."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc

from tests.functional.command_line import wait_until
from tests.functional.reliability.calls import Outcome, analyze, distinct_texts, request_of
from tests.functional.reliability.conftest import Figure
from tests.functional.reliability.door_process import DoorProcess

CALLS = 400


def test_deadlines_of_1_to_5_ms_leave_nothing_behind(door: DoorProcess, figure: Figure) -> None:
    texts, logged = distinct_texts(4 * CALLS), len(door.log())

    def call(number: int) -> Outcome:
        request = request_of(*texts[4 * number : 4 * number + 4])
        return analyze(door.stub, request, timeout_s=(1 + number % 5) / 1000)

    with ThreadPoolExecutor(8) as callers:
        outcomes = list(callers.map(call, range(CALLS)))
    codes = Counter(outcome.code for outcome in outcomes)
    # Refused is who would have waited for the others beyond the deadline.
    late = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert set(codes) <= {grpc.StatusCode.OK, *late}
    assert codes[grpc.StatusCode.DEADLINE_EXCEEDED] > CALLS / 2
    wait_until(door.idle)
    assert analyze(door.stub, request_of(texts[0])).reviews == ("",)
    # The server, too, knows no other outcomes: those calls were late, not broken.
    ended = Counter(line["code"] for line in door.log()[logged:] if line["message"] == "call")
    assert set(ended) <= {"OK", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED"}
    slowest_ms = 1000 * max(outcome.seconds for outcome in outcomes)
    figure(f"{codes[grpc.StatusCode.DEADLINE_EXCEEDED]} of {CALLS} late, slowest answer {slowest_ms:.0f} ms")
