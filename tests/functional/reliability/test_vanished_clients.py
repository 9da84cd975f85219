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
from tests.functional.reliability.calls import distinct_texts
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
    before = rows_computed(tiny_triton)
    with FaultyProxy(door.address) as proxy, door.another_channel(proxy.url) as channel:
        calls = start(ReviewAnalysisServiceStub(channel))
        wait_until(lambda: rows_computed(tiny_triton) > before + 100)
        assert not door.idle()
        vanish(channel, proxy)
        wait_until(door.idle)
        del calls
    computed = rows_computed(tiny_triton) - before
    # One of the models takes a row for each word of each review, so all of it would have been:
    wanted = sum(len(text.split()) for text in TEXTS)
    assert computed < wanted / 2
    wait_until(door.idle)
    assert rows_computed(tiny_triton) - before == computed
    figure(f"{computed} of more than {wanted} rows computed")
