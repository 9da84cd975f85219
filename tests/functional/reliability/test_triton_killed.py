"""Triton is killed: calls learn it at once, health says it, and it all comes back by itself."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from reviewlens.v1 import review_analysis_service_pb2 as pb

from client.artifact import Artifact
from server.embedded import EmbeddedTriton
from tests.functional.command_line import wait_until
from tests.functional.reliability.calls import Outcome, analyze, distinct_texts, request_of
from tests.functional.reliability.conftest import Figure, StartDoor
from tests.functional.reliability.door_process import DoorProcess, signal_triton, tritons

CALLERS = 4
DEADLINE_S = 20.0
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


@contextmanager
def calling(door: DoorProcess) -> Iterator[list[Outcome]]:
    """Callers who call without a pause during the block, and what became of each call."""
    outcomes: list[Outcome] = []
    stop = threading.Event()

    def call(first: int) -> None:
        while not stop.is_set():
            outcomes.append(analyze(door.stub, request_of(*distinct_texts(4, first)), DEADLINE_S))
            first += 4

    callers = [threading.Thread(target=call, args=[1000 * number]) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield outcomes
    finally:
        stop.set()
        for caller in callers:
            caller.join()


def test_the_own_triton_is_started_again(start_door: StartDoor, figure: Figure) -> None:
    door = start_door()
    door.expected_error = "the embedded Triton"
    with door.watched() as ready, calling(door) as outcomes:
        wait_until(lambda: len(outcomes) > 20)
        (victim,) = tritons(door.pid)
        killed = time.monotonic()
        signal_triton(door.pid, signal.SIGKILL)
        wait_until(lambda: len(ready) > 1)
        noticed_s = time.monotonic() - killed
        wait_until(lambda: len(ready) > 2, 60)
        recovered_s = time.monotonic() - killed
        answered = Counter(outcome.code for outcome in outcomes)[OK]
        wait_until(lambda: Counter(outcome.code for outcome in outcomes)[OK] > answered + 20)
    assert ready == [True, False, True]
    assert tritons(door.pid) != [victim]
    # A call that had some of its reviews answered when Triton died is a success with errors for the others.
    assert {outcome.code for outcome in outcomes} == {OK, UNAVAILABLE}
    assert {code for outcome in outcomes for code in outcome.reviews} <= {"", "UNAVAILABLE"}
    refused = [outcome for outcome in outcomes if outcome.code is UNAVAILABLE]
    assert all(outcome.retry_after_s for outcome in refused)
    slowest = max(outcome.seconds for outcome in refused)
    assert slowest < DEADLINE_S
    wait_until(door.idle)
    figure(
        f"NOT_SERVING after {noticed_s:.1f} s, SERVING again after {recovered_s:.1f} s; {len(refused)} calls "
        f"UNAVAILABLE, the slowest after {slowest:.1f} s"
    )


def test_a_remote_triton_is_found_again(
    start_door: StartDoor, tiny_repository: Path, tiny_artifact: Artifact, figure: Figure
) -> None:
    with EmbeddedTriton(tiny_repository, threads=1) as first:
        port = int(first.grpc_url.split(":")[1])
        door = start_door({"triton-url": first.grpc_url})
        before = door.stub.Analyze(request_of(*distinct_texts(5)))
        signal_triton(first.pid, signal.SIGKILL)
        wait_until(lambda: not door.serving())
        outcome = analyze(door.stub, request_of("배송이 빨라요"), DEADLINE_S)
        assert outcome.code is UNAVAILABLE
        assert outcome.retry_after_s
    with EmbeddedTriton(tiny_repository, threads=1, grpc_port=port):
        started = time.monotonic()
        wait_until(door.serving)
        figure(
            f"SERVING {time.monotonic() - started:.1f} s after Triton was back; a call meanwhile took "
            f"{outcome.seconds:.1f} s to be UNAVAILABLE"
        )
        after = door.stub.Analyze(request_of(*distinct_texts(5)))
    assert list(after.analyses) == list(before.analyses)


def test_a_stream_outlives_its_triton(start_door: StartDoor) -> None:
    """Reviews of the time without a Triton are answered with an error each; the stream goes on."""
    door = start_door()
    door.expected_error = "the embedded Triton"
    to_send: queue.Queue[str | None] = queue.Queue()

    def messages() -> Iterator[pb.AnalyzeStreamRequest]:
        while (text := to_send.get()) is not None:
            yield pb.AnalyzeStreamRequest(review=pb.Review(id=text, text=text))

    answers = door.stub.AnalyzeStream(messages(), timeout=120)
    try:
        to_send.put("핏이 좋아요")
        assert not next(answers).analysis.HasField("error")
        signal_triton(door.pid, signal.SIGKILL)
        to_send.put("핏이 아쉬워요")
        broken = next(answers).analysis
        assert (broken.id, broken.error.code) == ("핏이 아쉬워요", "UNAVAILABLE")
        wait_until(door.serving, 60)
        to_send.put("핏이 그냥 그래요")
        assert not next(answers).analysis.HasField("error")
    finally:
        to_send.put(None)
    assert list(answers) == []
