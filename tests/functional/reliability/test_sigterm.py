"""SIGTERM under load: every call that was accepted is answered, and the server ends in time with status 0."""

from __future__ import annotations

import itertools
import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator

import grpc
from reviewlens.v1 import review_analysis_service_pb2 as pb

from server.embedded import EmbeddedTriton
from tests.functional.command_line import wait_until
from tests.functional.reliability.calls import distinct_texts, request_of
from tests.functional.reliability.conftest import Figure, StartDoor
from tests.functional.reliability.door_process import DoorProcess

CALLERS, STREAMS = 12, 3
UNDER_WAY = 20
DRAIN_S = 30
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


class Caller(threading.Thread):
    """Makes calls, one after the other, until one fails; ``codes`` by request id."""

    def __init__(self, door: DoorProcess, number: int) -> None:
        super().__init__()
        self.codes: dict[str, grpc.StatusCode] = {}
        self._door = door
        self._texts = distinct_texts(1000, 1000 * number)

    def run(self) -> None:
        for number in itertools.count():
            texts = [self._texts[(8 * number + place) % 1000] for place in range(8)]
            request_id = uuid.uuid4().hex
            try:
                response = self._door.stub.Analyze(
                    request_of(*texts), timeout=60, metadata=(("x-request-id", request_id),)
                )
            except grpc.RpcError as error:
                self.codes[request_id] = error.code()
                return
            assert [analysis.text for analysis in response.analyses] == texts
            assert not any(analysis.HasField("error") for analysis in response.analyses)
            self.codes[request_id] = OK


class Stream(threading.Thread):
    """Keeps so many reviews of a stream under way until the server ends it; ``answered`` holds the ids of answers."""

    def __init__(self, door: DoorProcess, number: int) -> None:
        super().__init__()
        self.answered: list[str] = []
        self.code = OK
        self._room = threading.Semaphore(UNDER_WAY)
        self._end = threading.Event()
        self._texts = distinct_texts(1000, 50_000 + 1000 * number)
        self._door = door

    def run(self) -> None:
        answers = self._door.stub.AnalyzeStream(self._messages(), timeout=120)
        try:
            for answer in answers:
                assert not answer.analysis.HasField("error")
                assert answer.analysis.text == self._texts[int(answer.analysis.id) % 1000]
                self.answered.append(answer.analysis.id)
                self._room.release()
        except grpc.RpcError as error:
            self.code = error.code()
        finally:
            self._end.set()
            self._room.release()

    def _messages(self) -> Iterator[pb.AnalyzeStreamRequest]:
        for number in itertools.count():
            self._room.acquire()
            if self._end.is_set():
                return
            yield pb.AnalyzeStreamRequest(review=pb.Review(id=str(number), text=self._texts[number % 1000]))


def test_sigterm_under_load_loses_no_accepted_call(
    start_door: StartDoor, tiny_triton: EmbeddedTriton, figure: Figure
) -> None:
    door = start_door({"triton-url": tiny_triton.grpc_url, "drain-s": DRAIN_S})
    callers = [Caller(door, number) for number in range(CALLERS)]
    streams = [Stream(door, number) for number in range(STREAMS)]
    for thread in (*callers, *streams):
        thread.start()
    wait_until(lambda: min(len(caller.codes) for caller in callers) > 3)
    wait_until(lambda: min(len(stream.answered) for stream in streams) > 30)
    terminated = time.monotonic()
    door.terminate()
    status = door.wait(DRAIN_S + 10)
    ended_s = time.monotonic() - terminated
    for thread in (*callers, *streams):
        thread.join(60)
        assert not thread.is_alive()
    codes = {request_id: code for caller in callers for request_id, code in caller.codes.items()}
    assert status == 0
    # Of the calls that were refused the server's handlers have seen none; all that these have seen are answered.
    assert set(codes.values()) == {OK, UNAVAILABLE}
    logged = {line["request_id"]: line["code"] for line in door.log() if line["message"] == "call"}
    assert all(logged.get(request_id, "UNAVAILABLE") == code.name for request_id, code in codes.items())
    assert {stream.code for stream in streams} == {UNAVAILABLE}
    # The server logs how many reviews of a stream it has answered: so many have arrived.
    answers = sorted(line["reviews"] for line in door.log() if line.get("method", "").endswith("AnalyzeStream"))
    assert answers == sorted(len(stream.answered) for stream in streams)
    assert "CANCELLED" not in logged.values()
    figure(f"{dict(Counter(code.name for code in codes.values()))}, ended after {ended_s:.1f} s with status {status}")


def test_a_stream_that_waits_for_its_client_is_ended_by_the_drain(
    start_door: StartDoor, tiny_triton: EmbeddedTriton
) -> None:
    """Nobody sends on it: it must not hold the server up, and what was read is answered."""
    door = start_door({"triton-url": tiny_triton.grpc_url, "drain-s": DRAIN_S})
    to_send: queue.Queue[pb.AnalyzeStreamRequest | None] = queue.Queue()
    answers = door.stub.AnalyzeStream(iter(to_send.get, None), timeout=120)
    to_send.put(pb.AnalyzeStreamRequest(review=pb.Review(id="a", text="핏이 좋아요")))
    assert next(answers).analysis.id == "a"
    started = time.monotonic()
    door.terminate()
    assert door.wait() == 0
    assert time.monotonic() - started < DRAIN_S / 2
    assert answers.code() is UNAVAILABLE
    to_send.put(None)
