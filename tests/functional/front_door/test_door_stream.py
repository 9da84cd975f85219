"""AnalyzeStream: answers by id as they finish, bounded work, no failure by a full queue, nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from reviewlens.v1 import review_analysis_service_pb2 as pb

from client.results import ReviewInput
from server.front_door.answering import Answer, Answering
from server.front_door.server import FrontDoor
from tests.functional.front_door.calls import calls_under_way, raw_stream, request_of, stream_of, until
from tests.functional.front_door.conftest import Stub
from tests.functional.front_door.gate import Gate
from tests.functional.reviews import LONG_REVIEW, REVIEWS

AT_ONCE = 4
COUNT = 2000


async def test_every_review_gets_its_own_answer(stub: Stub) -> None:
    texts = [f"{REVIEWS[number % len(REVIEWS)]} {number}번" for number in range(200)]
    answers = {answer.analysis.id: answer async for answer in stub.AnalyzeStream(stream_of(texts))}
    assert {int(number): answer.analysis.text for number, answer in answers.items()} == dict(enumerate(texts))
    assert not any(answer.analysis.HasField("error") for answer in answers.values())
    whole = await stub.Analyze(request_of(*texts[:20]))
    for number, analysis in enumerate(whole.analyses):
        found = [(keyword.keyword, keyword.sentiment) for keyword in answers[str(number)].analysis.keywords]
        assert found == [(keyword.keyword, keyword.sentiment) for keyword in analysis.keywords]


async def test_failures_are_values_and_options_are_each_reviews_own(stub: Stub) -> None:
    async def requests() -> AsyncIterator[pb.AnalyzeStreamRequest]:
        yield pb.AnalyzeStreamRequest(review=pb.Review(id="nul", text="널\0"))
        only = pb.AnalysisOptions(keywords=["만족도"])
        yield pb.AnalyzeStreamRequest(review=pb.Review(id="only", text=LONG_REVIEW), options=only)
        unknown = pb.AnalysisOptions(keywords=["없는것"])
        yield pb.AnalyzeStreamRequest(review=pb.Review(id="unknown", text=LONG_REVIEW), options=unknown)
        yield pb.AnalyzeStreamRequest(review=pb.Review(id="all", text=LONG_REVIEW))

    found = {answer.analysis.id: answer.analysis async for answer in stub.AnalyzeStream(requests())}
    assert found["nul"].error.code == found["unknown"].error.code == "INVALID_ARGUMENT"
    assert [keyword.keyword for keyword in found["only"].keywords] == ["만족도"]
    assert len(found["all"].keywords) > 1


async def test_short_review_overtakes_a_long_one(stub: Stub) -> None:
    assert await _ids(stub, [" ".join([LONG_REVIEW] * 10), REVIEWS[6]]) == ["1", "0"]


async def test_long_review_holds_up_none_that_came_with_it(stub: Stub) -> None:
    texts = [*REVIEWS[:2], " ".join([LONG_REVIEW] * 10), *REVIEWS[2:6]]
    assert (await _ids(stub, texts))[-1] == "2"


async def test_reviews_that_come_together_are_analyzed_together(
    gated_door: FrontDoor, gated_stub: Stub, gate: Gate
) -> None:
    texts = [f"핏이 예뻐요 {number}번" for number in range(40)]
    gate.shut()
    receiving = asyncio.create_task(_ids(gated_stub, texts))
    await asyncio.sleep(0.5)
    gate.open()
    assert sorted(await receiving, key=int) == [str(number) for number in range(len(texts))]
    labels = {"model_version": "tiny-1", "role": "champion"}
    groups = gated_door.metrics.registry.get_sample_value("reviewlens_calls_by_model_total", labels)
    assert groups is not None
    assert 2 <= groups <= len(texts) / 2


async def test_a_review_that_breaks_the_server_breaks_no_other(
    door: FrontDoor, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze = Answering.analyze

    async def broken(self: Answering, ticket: str, reviews: Sequence[ReviewInput], *rest: Any) -> Answer:
        if any(review.text == "고장" for review in reviews):
            raise ZeroDivisionError
        return await analyze(self, ticket, reviews, *rest)

    monkeypatch.setattr(Answering, "analyze", broken)
    texts = [*REVIEWS[:3], "고장", *REVIEWS[3:6]]
    answers = {answer.analysis.id: answer.analysis async for answer in stub.AnalyzeStream(stream_of(texts))}
    assert len(answers) == len(texts)
    assert [number for number, analysis in answers.items() if analysis.HasField("error")] == ["3"]
    assert answers["3"].error.code == "INTERNAL"


async def _ids(stub: Stub, texts: Sequence[str]) -> list[str]:
    return [answer.analysis.id async for answer in stub.AnalyzeStream(stream_of(texts))]


@pytest.mark.parametrize("sections", [{"limits": {"max_stream_reviews": AT_ONCE}}])
async def test_server_reads_no_further_than_it_has_room(gated_door: FrontDoor, gated_stub: Stub, gate: Gate) -> None:
    sent, large = 0, "\0" + "가" * 9000  # costs Triton nothing

    async def requests() -> AsyncIterator[pb.AnalyzeStreamRequest]:
        nonlocal sent
        for number in range(COUNT):
            text = REVIEWS[number] if number < AT_ONCE else large
            yield pb.AnalyzeStreamRequest(review=pb.Review(id=str(number), text=text))
            sent += 1

    async def receive() -> list[str]:
        return [answer.analysis.id async for answer in gated_stub.AnalyzeStream(requests())]

    gate.shut()
    receiving = asyncio.create_task(receive())
    await until(lambda: sent >= AT_ONCE)
    await asyncio.sleep(0.5)
    assert sent < COUNT / 2, "the rest waits at the client"
    assert not receiving.done()
    gate.open()
    assert sorted(await receiving, key=int) == [str(number) for number in range(COUNT)]


@pytest.mark.parametrize("sections", [{"limits": {"max_queued_tokens": 200, "max_stream_reviews": 16}}])
async def test_stream_waits_for_room_in_the_queue(stub: Stub) -> None:
    answers = [answer async for answer in stub.AnalyzeStream(stream_of(REVIEWS * 3))]
    assert len(answers) == 3 * len(REVIEWS)
    assert [answer.analysis.error.code for answer in answers if answer.analysis.HasField("error")] == []


async def test_work_of_a_client_that_vanishes_stops(gated_door: FrontDoor, gate: Gate) -> None:
    values = gated_door.metrics.registry
    gate.shut()
    async with grpc.aio.insecure_channel(gated_door.address) as channel:
        call = raw_stream(channel)
        for number in range(20):
            review = pb.Review(id=str(number), text=f"{LONG_REVIEW} {number}번")
            await call.write(pb.AnalyzeStreamRequest(review=review).SerializeToString())
        await until(lambda: (values.get_sample_value("reviewlens_admitted_tokens") or 0) > 0)
    await until(lambda: calls_under_way(gated_door, "AnalyzeStream") == 0)
    assert values.get_sample_value("reviewlens_admitted_tokens") == 0
    assert values.get_sample_value("reviewlens_queue_tokens") == 0
    assert values.get_sample_value("reviewlens_batches_in_flight") == 0


async def test_wrong_message_ends_the_stream_after_what_was_read(door: FrontDoor) -> None:
    async with grpc.aio.insecure_channel(door.address) as channel:
        call = raw_stream(channel)
        await call.write(pb.AnalyzeStreamRequest(review=pb.Review(id="1", text=REVIEWS[0])).SerializeToString())
        await call.write(b"\xff\xff\xff")
        answer = await call.read()
        assert isinstance(answer, bytes)
        assert pb.AnalyzeStreamResponse.FromString(answer).analysis.id == "1"
        assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
