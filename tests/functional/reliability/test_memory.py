"""Memory after many calls: what the first thousands took is all that it takes.

RELIABILITY_MEMORY_CALLS sets the number of calls. The first look is after 2,000 of them, or after half of them.
"""

from __future__ import annotations

import asyncio
import os

from reviewlens.v1 import review_analysis_service_pb2 as pb

from benchmarks.load import Reply, TypedApi, closed_loop, connect
from benchmarks.load_generator import OK
from server.embedded import EmbeddedTriton
from tests.functional.command_line import wait_until
from tests.functional.reliability.calls import OFF, distinct_texts
from tests.functional.reliability.conftest import Figure, StartDoor

CALLS = int(os.environ.get("RELIABILITY_MEMORY_CALLS", "4000"))
WARM_UP = min(2000, CALLS // 2)
CALLERS = 8
INVALID = pb.AnalysisOptions(keywords=["없는 것"])


async def mixed_calls(address: str, calls: int, first: int) -> dict[str, int]:
    """Calls as a service gets them; how many ended how.

    Of twenty one has highlights, one is a stream, one is wrong, one too late; the others ask for a review's keywords.
    """
    texts = distinct_texts(10_000)
    async with connect(address) as channel:
        plain = TypedApi(channel, texts, options=OFF)
        full = TypedApi(channel, texts)
        wrong = TypedApi(channel, texts, options=INVALID)
        late = TypedApi(channel, texts, deadline_s=0.001)
        kinds = {0: full.analyze, 1: plain.analyze_stream, 2: wrong.analyze, 3: late.analyze}

        async def send(number: int) -> Reply:
            return await kinds.get(number % 20, plain.analyze)(number)

        report = await closed_loop(send, CALLERS, requests=calls, first=first)
    return dict(report.requests)


def test_memory_stays_as_it_was_after_the_first_calls(
    start_door: StartDoor, tiny_triton: EmbeddedTriton, figure: Figure
) -> None:
    door = start_door({"triton-url": tiny_triton.grpc_url, "cache.entries": 500})
    asyncio.run(mixed_calls(door.address, WARM_UP, first=0))
    wait_until(door.idle)
    before = door.memory()
    ended = asyncio.run(mixed_calls(door.address, CALLS - WARM_UP, first=WARM_UP))
    wait_until(door.idle)
    after = door.memory()
    figure(
        f"{before / 2**20:.1f} MiB after {WARM_UP} calls, {after / 2**20:.1f} MiB after {CALLS} "
        f"({after / before - 1:+.1%}); {ended}"
    )
    assert ended[OK] > 0.85 * (CALLS - WARM_UP)
    assert set(ended) <= {OK, "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    assert after < 1.05 * before
