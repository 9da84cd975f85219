"""Calls of a test, each over a connection of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from server.front_door.server import FrontDoor
from tests.functional.security.authority import Authority, Certificate

REVIEW = "허리는 맞는데 기장이 길어서 수선했어요"
# Channels with the same arguments would share connections.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Outcome:
    """How a call ended: the name of its code, its details, and the length of the review that came back."""

    code: str
    details: str = ""
    text: str = ""


def channel_to(
    door: FrontDoor, authority: Authority | None = None, client: Certificate | None = None
) -> grpc.aio.Channel:
    """A channel: plain text without an ``authority``, else TLS that trusts it, with the client's certificate."""
    port = door.address.rpartition(":")[2]
    if authority is None:
        return grpc.aio.insecure_channel(f"localhost:{port}", OWN_CONNECTION)
    own = (client.key, client.certificate) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.certificate, *own)
    return grpc.aio.secure_channel(f"localhost:{port}", credentials, OWN_CONNECTION)


async def analyze(channel: grpc.aio.Channel, metadata: Metadata = ()) -> Outcome:
    """Analyze a review."""
    request = pb.AnalyzeRequest(reviews=[pb.Review(id="1", text=REVIEW)])
    try:
        answer = await ReviewAnalysisServiceStub(channel).Analyze(request, timeout=10, metadata=tuple(metadata))
    except grpc.aio.AioRpcError as error:
        return Outcome(error.code().name, error.details() or "")
    return Outcome("OK", "", answer.analyses[0].text)


async def check_health(channel: grpc.aio.Channel) -> str:
    """The health status of the whole server, or the code of a call that failed."""
    try:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
