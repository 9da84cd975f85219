"""The Python examples do against the real front door what their READMEs say."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from reviewlens.v1.review_analysis_service_pb2 import AnalysisOptions, AnalyzeStreamRequest, Review
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from examples.python_async.analyze_reviews import analyze
from server.front_door.server import FrontDoor
from server.front_door.tokens import new_token
from tests.functional.command_line import json_lines
from tests.functional.examples.conftest import OpenDoor, RunExample, StartExample
from tests.functional.reviews import REVIEWS
from tests.functional.security.authority import Authority

SYNC = "python_sync/analyze_reviews.py"
ASYNC = "python_async/analyze_reviews.py"
REFLECT = "python_reflection/reflect.py"
SERVICE = "reviewlens.v1.ReviewAnalysisService"


@pytest.mark.parametrize("example", [SYNC, ASYNC])
async def test_every_line_is_answered_and_failures_show(
    open_door: OpenDoor, run_example: RunExample, example: str
) -> None:
    # With 5 a call, the blocking client needs several calls.
    door = await open_door(limits={"max_reviews": 5, "max_characters": 100})
    texts = [*REVIEWS, "길" * 101]
    finished = await run_example(example, "--target", door.address, lines="\n".join(texts))
    assert (finished.status, finished.errors) == (1, "")
    answers = json_lines(finished.output)
    if example == SYNC:
        assert [answer["id"] for answer in answers] == [str(number) for number in range(1, len(texts) + 1)]
    by_id = {int(answer["id"]): answer for answer in answers}
    assert [by_id[number]["text"] for number in range(1, len(texts) + 1)] == texts
    assert by_id.pop(len(texts))["error"]["code"] == "INVALID_ARGUMENT"
    assert all(answer["keywords"][-1]["keyword"] == "만족도" for answer in by_id.values())


@pytest.mark.parametrize("example", [SYNC, ASYNC])
async def test_token_goes_over_tls_only(
    open_door: OpenDoor, run_example: RunExample, tmp_path: Path, example: str
) -> None:
    authority = Authority("authority")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    certificate, key = authority.issue("reviews").write(tmp_path, "server")
    token, line = new_token("shop")
    door = await open_door(tls={"certificate_file": certificate, "key_file": key}, auth={"tokens": line})
    arguments = example, "--target", door.address
    good = await run_example(*arguments, "--ca", tmp_path / "ca.pem", lines=REVIEWS[0], token=token)
    assert (good.status, good.errors) == (0, "")
    wrong = await run_example(*arguments, "--ca", tmp_path / "ca.pem", lines=REVIEWS[0], token=new_token("stranger")[0])
    assert wrong.status == 2
    assert wrong.errors.startswith("UNAUTHENTICATED: ")
    plain = await run_example(*arguments, lines=REVIEWS[0], token=token)
    assert "TLS only" in plain.errors


def refused_calls(door: FrontDoor) -> float:
    """Calls that the front door has refused for want of room."""
    return sum(
        sample.value
        for metric in door.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "reviewlens_requests_total" and sample.labels["code"] == "RESOURCE_EXHAUSTED"
    )


@pytest.mark.parametrize(("example", "patience"), [(SYNC, "--deadline"), (ASYNC, "--patience")])
async def test_overloaded_server_is_asked_again_when_it_says(
    open_door: OpenDoor, run_example: RunExample, example: str, patience: str
) -> None:
    door = await open_door(limits={"max_calls_per_client": 1})
    async with grpc.aio.insecure_channel(door.address) as channel:
        # This stream is the one call that the client may have; answered once, it is surely under way.
        holder = ReviewAnalysisServiceStub(channel).AnalyzeStream()
        await holder.write(AnalyzeStreamRequest(review=Review(text=REVIEWS[0])))
        await holder.read()
        started = time.monotonic()
        refused = await run_example(example, "--target", door.address, patience, "0.2", lines=REVIEWS[0])
        # The hint, half a second, is past the deadline: no use to wait for it.
        assert refused.errors.startswith("RESOURCE_EXHAUSTED: ")
        assert time.monotonic() - started < 5
        before = refused_calls(door)
        waiting = asyncio.ensure_future(run_example(example, "--target", door.address, lines=REVIEWS[0]))
        while refused_calls(door) == before:  # noqa: ASYNC110  (what another process does is no event here)
            await asyncio.sleep(0.05)
        holder.cancel()
        finished = await waiting
    assert (finished.status, finished.errors) == (0, "")


@pytest.mark.parametrize(("example", "patience"), [(SYNC, "--deadline"), (ASYNC, "--patience")])
async def test_missing_server_is_an_error_in_time(run_example: RunExample, example: str, patience: str) -> None:
    finished = await run_example(example, "--target", "127.0.0.1:1", patience, "0.5", lines=REVIEWS[0])
    assert finished.status == 2
    assert finished.errors.startswith("UNAVAILABLE: ")


async def test_stream_goes_on_with_the_next_server(open_door: OpenDoor) -> None:
    """A front door that drains in mid-stream, and another one at its address: each review is answered once."""
    door = await open_door()

    async def replace() -> None:
        await door.drain(10)
        await open_door(listen=door.address)

    reviews = [Review(id=str(number), text=f"{number}번 {REVIEWS[number % 12]}") for number in range(800)]
    replacing: asyncio.Task[None] | None = None
    ids: list[str] = []
    after_drain = 0
    async with grpc.aio.insecure_channel(door.address) as channel:
        async for analysis in analyze(channel, iter(reviews), AnalysisOptions(), patience_s=20):
            assert not analysis.HasField("error")
            ids.append(analysis.id)
            replacing = replacing or asyncio.create_task(replace())
            after_drain += replacing.done()
    assert sorted(ids) == sorted(review.id for review in reviews)
    assert after_drain


async def test_answer_comes_before_the_next_line(open_door: OpenDoor, start_example: StartExample) -> None:
    """Reading a pipe must not hold up the stream, and a pause of the source is no fault of the server."""
    door = await open_door()
    program = await start_example(ASYNC, "--target", door.address, "--patience", "1.5")
    assert program.stdin is not None
    assert program.stdout is not None
    for number, text in enumerate(REVIEWS[:2], 1):
        program.stdin.write(f"{text}\n".encode())
        answer = json.loads(await asyncio.wait_for(program.stdout.readline(), 20))
        assert (answer["id"], answer["text"]) == (str(number), text)
        await asyncio.sleep(2)
    output, errors = await asyncio.wait_for(program.communicate(b""), 20)
    assert (program.returncode, output, errors) == (0, b"", b"")


async def test_review_being_read_when_a_stream_breaks_goes_over_the_next(open_door: OpenDoor) -> None:
    door = await open_door()
    wanted, there = threading.Event(), threading.Event()

    def reviews() -> Iterator[Review]:
        yield Review(id="1", text=REVIEWS[0])
        wanted.set()
        assert there.wait(20)
        yield Review(id="2", text=REVIEWS[1])

    async with grpc.aio.insecure_channel(door.address) as channel:
        analyses = analyze(channel, reviews(), AnalysisOptions(), patience_s=20)
        assert (await anext(analyses)).id == "1"
        assert await asyncio.to_thread(wanted.wait, 20)
        following = asyncio.ensure_future(anext(analyses))
        await door.drain(5)
        await open_door(listen=door.address)
        there.set()
        assert (await following).id == "2"
        assert [analysis async for analysis in analyses] == []


async def test_reviews_are_read_no_faster_than_answers_are_taken(open_door: OpenDoor) -> None:
    door = await open_door()
    taken = 0

    def endless() -> Iterator[Review]:
        nonlocal taken
        while True:
            taken += 1
            yield Review(id=str(taken), text=REVIEWS[taken % 12] * 20)

    async with grpc.aio.insecure_channel(door.address) as channel:
        analyses = analyze(channel, endless(), AnalysisOptions(), patience_s=20)
        await anext(analyses)
        # Without flow control it would never come to rest. With it, what is on its way fills buffers and windows.
        async with asyncio.timeout(30):
            before = -1
            while before < taken:
                before = taken
                await asyncio.sleep(0.5)
        await analyses.aclose()
    assert taken > 1


async def test_reflection_client_lists_describes_and_calls(open_door: OpenDoor, run_example: RunExample) -> None:
    door = await open_door()

    async def reflect(*arguments: str) -> str:
        finished = await run_example(REFLECT, "--target", door.address, *arguments)
        assert (finished.status, finished.errors) == (0, "")
        return finished.output

    assert SERVICE in (await reflect("list")).splitlines()
    streaming = (
        "rpc AnalyzeStream(stream reviewlens.v1.AnalyzeStreamRequest) "
        "returns (stream reviewlens.v1.AnalyzeStreamResponse);"
    )
    assert streaming in await reflect("describe", SERVICE)
    assert "map<string, float> thresholds = 4;" in await reflect("describe", "reviewlens.v1.AnalysisOptions")
    request = json.dumps({"reviews": [{"id": "7", "text": REVIEWS[0]}], "options": {"keywords": ["만족도"]}})
    (analysis,) = json.loads(await reflect("call", f"{SERVICE}/Analyze", request))["analyses"]
    assert (analysis["id"], [found["keyword"] for found in analysis["keywords"]]) == ("7", ["만족도"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("call", f"{SERVICE}/Analyze", '{"review": []}'), 'no field named "review"'),
        (("call", f"{SERVICE}/Analyze"), "INVALID_ARGUMENT: reviews: there are none"),
    ],
)
async def test_reflection_client_says_what_is_wrong(
    open_door: OpenDoor, run_example: RunExample, arguments: tuple[str, ...], message: str
) -> None:
    door = await open_door()
    finished = await run_example(REFLECT, "--target", door.address, *arguments)
    assert finished.status == 2
    assert message in finished.errors
