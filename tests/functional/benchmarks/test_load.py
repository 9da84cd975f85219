"""The benchmarks of the front door, with a real one: they count what happened, and find answers that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import front_door, load
from benchmarks.load_generator import OK, closed_loop
from benchmarks.typed_api import WRONG_ANSWER, TypedApi, connect
from server.embedded import EmbeddedTriton
from server.front_door.server import FrontDoor
from tests.functional.front_door.conftest import door_settings
from tests.functional.reviews import REVIEWS


async def test_every_answer_is_counted_and_checked(tiny_repository: Path, tiny_triton: EmbeddedTriton) -> None:
    settings = door_settings(tiny_repository, tiny_triton.grpc_url, limits={"max_reviews": 32, "max_characters": 200})
    async with FrontDoor(settings) as door, connect(door.address) as channel:
        api = TypedApi(channel, REVIEWS, reviews_per_request=3)
        await api.learn()
        assert api.known.keys() == set(REVIEWS)
        for send in (api.analyze, api.analyze_stream):
            report = await closed_loop(send, concurrency=4, requests=8)
            assert (report.requests, report.reviews) == ({OK: 8}, {OK: 24}), str(report)

        # Eight requests send each of the twelve reviews twice.
        api.known[REVIEWS[0]].keywords[-1].sentiment_probabilities[0] += 0.1
        api.known[REVIEWS[4]].keywords[-1].keyword = "배송"
        report = await closed_loop(api.analyze, concurrency=4, requests=8)
        assert report.reviews == {OK: 20, WRONG_ANSWER: 4}
        assert sorted(report.problems.values()) == [2, 2]

        mixed = TypedApi(channel, [REVIEWS[0], "가" * 201, " "], reviews_per_request=3)
        report = await closed_loop(mixed.analyze, concurrency=2, requests=4)
        assert (report.requests, report.reviews) == ({OK: 4}, {OK: 4, "INVALID_ARGUMENT": 8})
        refused = await closed_loop(TypedApi(channel, REVIEWS, reviews_per_request=33).analyze, 2, requests=4)
        assert (refused.requests, refused.reviews) == ({"INVALID_ARGUMENT": 4}, {})
        assert refused.latencies_s == []


async def test_the_command_drives_a_deployment(
    tiny_repository: Path, tiny_triton: EmbeddedTriton, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FrontDoor(door_settings(tiny_repository, tiny_triton.grpc_url)) as door:
        common = ["--url", door.address, "--measurement-interval", "200", "--distinct-reviews", "20"]
        assert await load.run(load.parser().parse_args([*common, "--concurrency-range", "1:3:2"])) == 0
        rate = ["--request-rate-range", "20", "--batch-size", "2", "--streaming"]
        assert await load.run(load.parser().parse_args([*common, *rate])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["concurrency 1", "concurrency 3", "request rate 20/s"]
    assert "4 requests in" in lines[2]
    assert await load.run(load.parser().parse_args(common)) == 2
    assert "UNAVAILABLE" in capsys.readouterr().err


async def test_the_comparison_with_the_bare_analyzer(tiny_repository: Path, tiny_triton: EmbeddedTriton) -> None:
    arguments = ["--callers", "2", "--reviews-per-call", "4", "--reviews", "16", "--rounds", "2", "--shorts", "3"]
    args = front_door.parser().parse_args(["--repository", str(tiny_repository), *arguments, "--options", "all"])
    text = await front_door.run(args, tiny_triton)
    callers, stream, short, note = text.split("\n\n")
    for table in (callers, stream):
        assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["bare analyzer", "front door", "all"]
    assert [line.split("|")[1].strip() for line in short.splitlines()[3:]] == ["front door", "all", "cached"]
    assert note.startswith("2 rounds of 16 distinct reviews")
