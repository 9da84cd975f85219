"""Shadow traffic: the champion answers, the challenger is compared, and no text is kept unless asked for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from server.front_door.rollout import shadow
from server.front_door.rollout.__main__ import main
from tests.functional.front_door.calls import request_of, stream_of, until
from tests.functional.reviews import REVIEWS
from tests.functional.rollout.doors import Stub, counted, found, open_door, until_served, write_plan

Table = dict[str, object]
COMPARED = "reviewlens_shadow_reviews_total"


async def switch_to_shadow(file: Path, champion: Table, challenger: Table, stub: Stub) -> None:
    """Put the challenger into the shadow, where GetInfo does not show it, from an even split, where it does."""
    write_plan(file, champion=champion, challenger={**challenger, "mode": "split", "share": 0.5})
    await until_served(stub, {"tiny-1": 0.5, "tiny-2": 0.5})
    write_plan(file, champion=champion, challenger={**challenger, "mode": "shadow", "share": 1.0})
    await until_served(stub, {"tiny-1": 1.0})


async def test_report_counts_what_both_versions_say(
    rollout_file: Path,
    tiny_repository: Path,
    champion: Table,
    challenger: Table,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = tmp_path / "comparison.json"
    settings = {"file": str(rollout_file), "report_file": str(report)}
    write_plan(rollout_file, champion=challenger)
    async with open_door(tiny_repository, rollout=settings) as (_, stub):
        says = (await stub.Analyze(request_of(*REVIEWS))).analyses
    write_plan(rollout_file, champion=champion)
    async with open_door(tiny_repository, rollout=settings) as (door, stub):
        await switch_to_shadow(rollout_file, champion, challenger, stub)
        answer = await stub.Analyze(request_of(*REVIEWS, " "))
        assert answer.model_version == "tiny-1"
        await until(lambda: counted(door, COMPARED, result="compared") == len(REVIEWS))
        streamed = {r.analysis.model_version async for r in stub.AnalyzeStream(stream_of(REVIEWS[:3]))}
        assert streamed == {"tiny-1"}
        await until(lambda: counted(door, COMPARED, result="compared") == len(REVIEWS) + 3)
        reviews = len(REVIEWS) + 3
        await until(lambda: report.exists() and json.loads(report.read_text())["comparisons"][0]["reviews"] == reviews)
    (comparison,) = json.loads(report.read_text())["comparisons"]
    assert (comparison["champion"], comparison["challenger"]) == ("tiny-1", "tiny-2")
    assert (comparison["reviews"], comparison["dropped"]) == (reviews, 0)
    assert 3 <= comparison["calls"] <= 4  # the stream's first review, and the others, together if they came at once
    assert comparison["failed"] == {}

    expected: Counter[str] = Counter()
    identical = 0
    for first, second in zip((*answer.analyses[:-1], *answer.analyses[:3]), (*says, *says[:3]), strict=True):
        one = {keyword.keyword: keyword for keyword in first.keywords}
        other = {keyword.keyword: keyword for keyword in second.keywords}
        identical += {k: v.sentiment for k, v in one.items()} == {k: v.sentiment for k, v in other.items()}
        for label in one | other:
            both = label in one and label in other
            side = "both" if both else "champion_only" if label in one else "challenger_only"
            expected[f"{label} {side}"] += 1
            expected[f"{label} same_sentiment"] += both and one[label].sentiment == other[label].sentiment
            if both and one[label].highlights and other[label].highlights:
                spans = [(k.highlights[0].start, k.highlights[0].end) for k in (one[label], other[label])]
                expected[f"{label} same_highlight"] += spans[0] == spans[1]
    assert comparison["identical"] == identical
    names = ("both", "champion_only", "challenger_only", "same_sentiment", "same_highlight")
    counts = Counter({f"{label} {n}": c[n] for label, c in comparison["labels"].items() for n in names})
    assert +counts == +expected
    assert counts["만족도 both"] == len(REVIEWS) + 3
    assert [found(analysis) for analysis in answer.analyses[:-1]] != [found(analysis) for analysis in says]

    assert not any(review in report.read_text() for review in REVIEWS)
    assert main(["report", str(report), str(report)]) == 0
    printed = capsys.readouterr().out
    assert f"| reviews compared | {2 * (len(REVIEWS) + 3)} |" in printed
    assert "| 만족도 |" in printed


async def test_comparison_goes_on_after_a_restart_and_keeps_examples_when_asked(
    rollout_file: Path, tiny_repository: Path, champion: Table, challenger: Table, tmp_path: Path
) -> None:
    report = tmp_path / "comparison.json"
    settings = {"file": str(rollout_file), "report_file": str(report), "report_examples": 2, "report_every_s": 3600}
    for _ in range(2):
        write_plan(rollout_file, champion=champion)
        async with open_door(tiny_repository, rollout=settings) as (door, stub):
            await switch_to_shadow(rollout_file, champion, challenger, stub)
            await stub.Analyze(request_of(*REVIEWS))
            await until(lambda: counted(door, COMPARED, result="compared") == len(REVIEWS))
    (comparison,) = json.loads(report.read_text())["comparisons"]
    assert (comparison["calls"], comparison["reviews"]) == (2, 2 * len(REVIEWS))
    assert len(comparison["examples"]) == 2
    assert {example["text"] for example in comparison["examples"]} <= set(REVIEWS)


async def test_challenger_that_is_behind_costs_callers_nothing(
    rollout_file: Path,
    tiny_repository: Path,
    champion: Table,
    challenger: Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shadow, "BACKLOG_CHARACTERS", 500)
    async with open_door(tiny_repository, rollout={"file": str(rollout_file)}) as (door, stub):
        await switch_to_shadow(rollout_file, champion, challenger, stub)
        calls = [stub.Analyze(request_of(review, *REVIEWS[:3]), timeout=20) for review in REVIEWS * 3]
        answers = [await call for call in calls]
        assert {answer.model_version for answer in answers} == {"tiny-1"}
        assert not any(analysis.HasField("error") for answer in answers for analysis in answer.analyses)
        offered = 4 * len(answers)
        await until(lambda: sum(counted(door, COMPARED, result=r) for r in ("compared", "dropped")) == offered)
        assert counted(door, COMPARED, result="dropped") > 0
        assert counted(door, COMPARED, result="compared") > 0
