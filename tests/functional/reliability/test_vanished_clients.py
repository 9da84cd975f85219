"""A client that vanishes in the middle: the work that nobody waits for stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import pytest
import tritonclient.grpc as triton_grpc
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from server.embedded import CHANNEL_ARGUMENTS, EmbeddedTriton
from tests.functional.command_line import wait_until
from tests.functional.reliability.calls import distinct_texts, request_of
from tests.functional.reliability.conftest import Figure
from tests.functional.reliability.door_process import DoorProcess
from tests.functional.reliability.faulty_proxy import FaultyProxy
from tests.functional.reviews import LONG_REVIEW

REVIEWS = 256
TEXTS = [f"{text} {LONG_REVIEW}" for text in distinct_texts(REVIEWS)]

Vanish = Callable[[grpc.Channel, FaultyProxy], None]


def stream_of(stub: ReviewAnalysisServiceStub) -> Iterator[pb.AnalyzeStreamResponse]:
    """A stream of many long reviews."""
    messages = (pb.AnalyzeStreamRequest(review=pb.Review(id=str(n), text=text)) for n, text in enumerate(TEXTS))
    return stub.AnalyzeStream(messages)


def call_with_all(stub: ReviewAnalysisServiceStub) -> object:
    """One call of many long reviews."""
    return stub.Analyze.future(pb.AnalyzeRequest(reviews=[pb.Review(text=text) for text in TEXTS]))


def closed(channel: grpc.Channel, proxy: FaultyProxy) -> None:
    """The client cancels its calls, as when its program ends in order."""
    channel.close()


def reset(channel: grpc.Channel, proxy: FaultyProxy) -> None:
    """The connection breaks, as when the client is killed."""
    proxy.reset()


def rows_computed(triton: EmbeddedTriton) -> int:
    """Rows that Triton has computed in all its models since it was started."""
    with triton_grpc.InferenceServerClient(triton.grpc_url, channel_args=CHANNEL_ARGUMENTS) as client:
        return sum(model.inference_count for model in client.get_inference_statistics().model_stats)


def rows_of_one_more_call(door: DoorProcess, triton: EmbeddedTriton) -> int:
    """Rows that Triton computes while a call of its own is answered."""
    before = rows_computed(triton)
    door.stub.Analyze(request_of("핏이 정말 좋아요"), timeout=30)
    return rows_computed(triton) - before


@pytest.mark.parametrize("start", [stream_of, call_with_all])
@pytest.mark.parametrize("vanish", [closed, reset])
def test_nobody_computes_for_a_client_that_vanished(
    door: DoorProcess,
    tiny_triton: EmbeddedTriton,
    start: Callable[[ReviewAnalysisServiceStub], object],
    vanish: Vanish,
    figure: Figure,
) -> None:
    wait_until(door.idle)
    own_rows = rows_of_one_more_call(door, tiny_triton)
    before = rows_computed(tiny_triton)
    with FaultyProxy(door.address) as proxy, door.another_channel(proxy.url) as channel:
        calls = start(ReviewAnalysisServiceStub(channel))
        wait_until(lambda: rows_computed(tiny_triton) > before + 100)
        assert not door.idle()
        vanish(channel, proxy)
        wait_until(door.idle)
        del calls
    # Triton finishes the few batches that it has begun. Then it computes nothing but what it is asked for.
    wait_until(lambda: rows_of_one_more_call(door, tiny_triton) == own_rows)
    computed = rows_computed(tiny_triton) - before
    # One of the models takes a row for each word of each review, so all of it would have been:
    wanted = sum(len(text.split()) for text in TEXTS)
    assert computed < wanted / 2
    figure(f"{computed} of more than {wanted} rows computed")
