"""Messages that no honest client sends: each gets a proper status, and the server goes on.

RELIABILITY_FUZZ_EXAMPLES sets how many messages are tried of each kind.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reviewlens.v1 import review_analysis_service_pb2 as pb

from tests.functional.command_line import wait_until
from tests.functional.reliability.calls import SERVICE, Outcome, analyze, failed, request_of
from tests.functional.reliability.conftest import Figure
from tests.functional.reliability.door_process import DoorProcess

EXAMPLES = int(os.environ.get("RELIABILITY_FUZZ_EXAMPLES", "150"))
OK, INVALID_ARGUMENT = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
PROPER = {OK, INVALID_ARGUMENT}
MAX_BYTES = 4 * 1024 * 1024

Send: TypeAlias = Callable[[bytes], Outcome]

# The same messages in each run; derandomized, since a test must fail for a change and not by chance.
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def unary(door: DoorProcess) -> Send:
    """Sends bytes as the request of Analyze."""
    method = bytes_method(door)

    def send(data: bytes) -> Outcome:
        try:
            method(data, timeout=60)
        except grpc.RpcError as error:
            return failed(error)
        return Outcome(OK)

    return send


def bytes_method(door: DoorProcess, name: str = "Analyze") -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """A method that takes any bytes as its request."""
    return door.channel.unary_unary(f"/{SERVICE}/{name}", request_serializer=bytes, response_deserializer=bytes)


@pytest.fixture
def stream(door: DoorProcess) -> Send:
    """Sends bytes as a stream's second message, behind a good review; the outcome's reviews are the answers' ids."""
    method: grpc.StreamStreamMultiCallable[bytes, pb.AnalyzeStreamResponse] = door.channel.stream_stream(
        f"/{SERVICE}/AnalyzeStream",
        request_serializer=bytes,
        response_deserializer=pb.AnalyzeStreamResponse.FromString,
    )
    good = pb.AnalyzeStreamRequest(review=pb.Review(id="good", text="핏이 좋아요")).SerializeToString()

    def send(data: bytes) -> Outcome:
        outcome, ids = Outcome(OK), []
        try:
            for answer in method(iter([good, data]), timeout=60):
                ids.append(answer.analysis.id)  # noqa: PERF401  (those before an error count)
        except grpc.RpcError as error:
            outcome = failed(error)
        return replace(outcome, reviews=tuple(ids))

    return send


texts = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["", " ", "\0", "핏\0이", "\ufeff", "\u200b", "\U0010ffff", "é́́", "<mask> </s>", "ㅋ" * 3000, "a" * 10_001]
    ),
)
# Hypothesis draws no long ones by itself.
names = st.builds(lambda text, times: text * times, st.text(max_size=10), st.sampled_from([1, 1, 5000]))
options = st.builds(
    pb.AnalysisOptions,
    highlight_mode=st.integers(-5, 2**31 - 1),
    highlights_per_keyword=st.integers(-(2**31), 2**31 - 1),
    keywords=st.lists(st.one_of(names, st.sampled_from(["가격", "만족도"])), max_size=3),
    thresholds=st.dictionaries(
        st.one_of(names, st.sampled_from(["가격", "핏", "만족도", "?"])), st.floats(width=32), max_size=2
    ),
)
reviews = st.builds(pb.Review, id=st.text(max_size=20), text=texts)
requests = st.builds(pb.AnalyzeRequest, reviews=st.lists(reviews, max_size=5), options=st.none() | options)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid request with a few bytes changed, put in or left out, or with its end cut off."""
    data = bytearray(draw(requests).SerializeToString())
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        place = draw(st.integers(0, len(data) - 1))
        data[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data[: draw(st.integers(0, len(data)))])


@given(data=st.binary(max_size=200))
@fuzz
def test_random_bytes(unary: Send, data: bytes) -> None:
    assert unary(data).code in PROPER


@given(data=mutated())
@fuzz
def test_mutated_requests(unary: Send, data: bytes) -> None:
    assert unary(data).code in PROPER


@given(request=requests)
@fuzz
def test_valid_messages_with_strange_values(unary: Send, request: pb.AnalyzeRequest) -> None:
    assert unary(request.SerializeToString()).code in PROPER


LONG_NAME = "핏" * 5000
LONG = {
    "keywords": pb.AnalysisOptions(keywords=[LONG_NAME]),
    "thresholds": pb.AnalysisOptions(thresholds={LONG_NAME: 0.5}),
    "a threshold out of range": pb.AnalysisOptions(thresholds={LONG_NAME: 7}),
}


@pytest.mark.parametrize("options", LONG.values(), ids=LONG)
def test_a_long_name_does_not_break_the_status_that_quotes_it(door: DoorProcess, options: pb.AnalysisOptions) -> None:
    """A status over 8 KiB reaches its caller as RESOURCE_EXHAUSTED of the caller's own library."""
    with pytest.raises(grpc.RpcError) as raised:
        door.stub.Analyze(request_of("핏이 좋아요", options=options), timeout=30)
    assert raised.value.code() is INVALID_ARGUMENT
    status = rpc_status.from_call(raised.value)
    violations = BadRequest()
    assert any(detail.Unpack(violations) for detail in status.details)
    assert violations.field_violations[0].field.startswith(("options.keywords[0]", "options.thresholds['핏핏"))


@given(data=st.one_of(st.binary(max_size=200), mutated()))
@fuzz
def test_hostile_messages_in_a_stream_leave_the_others_answered(stream: Send, data: bytes) -> None:
    outcome = stream(data)
    assert outcome.code in PROPER
    assert "good" in outcome.reviews


def field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


INVALID_UTF8 = {
    "text": field(1, field(2, b"\xff\xfe")),
    "id": field(1, field(1, b"\xc0\x80") + field(2, b"ok")),
    "surrogate": field(1, field(2, b"\xed\xa0\x80")),
    "keyword": field(1, field(2, b"ok")) + field(2, field(3, b"\x80")),
    "threshold": field(1, field(2, b"ok")) + field(2, field(4, field(1, b"\xf5") + b"\x15\0\0\0\x3f")),
}
NONSENSE = {
    "deep groups": b"\x5b" * 100_000,
    "deep messages": field(1, b"\x1b" * 100),
    "endless number": b"\x08" + b"\xff" * 100,
    "a length beyond the end": b"\x0a\xff\xff\xff\xff\x0f",
    "a wrong type": b"\x08\x01",
}


@pytest.mark.parametrize("data", INVALID_UTF8.values(), ids=INVALID_UTF8)
def test_text_that_is_not_utf8_is_refused(unary: Send, data: bytes) -> None:
    outcome = unary(data)
    assert outcome.code is INVALID_ARGUMENT
    assert "UTF-8" in outcome.details


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE)
def test_bytes_that_are_no_message_are_refused(unary: Send, data: bytes) -> None:
    assert unary(data).code is INVALID_ARGUMENT


@pytest.mark.parametrize("text", ["", "   \n", "핏\0이", "가" * 10_001], ids=["empty", "blank", "NUL", "long"])
def test_a_text_that_cannot_be_analyzed_fails_alone(door: DoorProcess, text: str) -> None:
    assert analyze(door.stub, request_of("핏이 좋아요", text, "배송이 빨라요")).reviews == ("", "INVALID_ARGUMENT", "")


def test_oversize_messages_are_refused_and_their_memory_is_bounded(
    door: DoorProcess, unary: Send, stream: Send, figure: Figure
) -> None:
    memory = []
    for _ in range(4):
        for size in (MAX_BYTES + 1, 2 * MAX_BYTES, 2 * MAX_BYTES + 1, 16 * MAX_BYTES):
            for send in (unary, stream):
                outcome = send(bytes(size))
                assert outcome.code is RESOURCE_EXHAUSTED
                assert outcome.retry_after_s is None  # to come back would not help
        memory.append(door.memory())
    figure(f"messages up to {16 * MAX_BYTES >> 20} MiB, {len(memory)} times: {[size >> 20 for size in memory]} MiB")
    assert max(memory) < 64 * MAX_BYTES


def test_a_message_of_nothing_but_empty_reviews_is_refused(door: DoorProcess, unary: Send, figure: Figure) -> None:
    """Two bytes each, so two million of them fit into a message that is not oversize; each takes more once parsed."""
    before = door.memory()
    assert unary(b"\x0a\0" * (MAX_BYTES // 2)).code is INVALID_ARGUMENT
    figure(f"{(door.memory() - before) / 2**20:+.0f} MiB")
    assert door.memory() - before < 64 * MAX_BYTES


def test_a_message_that_grows_when_it_is_decompressed_is_refused(door: DoorProcess, figure: Figure) -> None:
    before = door.memory()
    with pytest.raises(grpc.RpcError) as raised:
        bytes_method(door)(bytes(256 * 2**20), timeout=60, compression=grpc.Compression.Gzip)
    code = failed(raised.value).code
    figure(f"256 MiB of zeros, compressed: {code.name}, {(door.memory() - before) / 2**20:+.0f} MiB")
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert door.memory() - before < 64 * 2**20


def test_strange_metadata_is_no_matter(door: DoorProcess) -> None:
    request = request_of("핏이 좋아요")
    for metadata in (
        (("x-request-id", "a" * 5000),),
        (("traceparent", "00-zz-zz-zz"),),
        (("authorization", "Bearer"),) * 2,
        (("binary-bin", bytes(range(256))),),
    ):
        assert door.stub.Analyze(request, metadata=metadata, timeout=30).analyses[0].error.code == ""


def test_an_unknown_method_is_unimplemented(door: DoorProcess) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        bytes_method(door, "Steal")(b"", timeout=30)
    assert failed(raised.value).code is grpc.StatusCode.UNIMPLEMENTED


def test_the_server_went_through_all_of_this_without_an_error(door: DoorProcess) -> None:
    wait_until(door.idle)
    assert analyze(door.stub, request_of("핏이 좋아요")).reviews == ("",)
    assert [line["message"] for line in door.log("error")] == []
