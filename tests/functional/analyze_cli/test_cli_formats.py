"""The command line's outputs, from a real Triton."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import uuid
from pathlib import Path

import pytest

from client.artifact import Artifact
from tests.functional.command_line import command, json_lines, marked_processes
from tests.functional.conftest import RunAnalyze
from tests.functional.reviews import LONG_REVIEW, REVIEWS


def test_json_has_the_documented_fields_and_spans(analyze: RunAnalyze, tiny_artifact: Artifact) -> None:
    run = analyze(*REVIEWS, LONG_REVIEW, "--format", "json")
    assert (run.returncode, run.stderr) == (0, "")
    analyses = json.loads(run.stdout)
    assert [(a["id"], a["text"]) for a in analyses] == [
        (str(number), text) for number, text in enumerate([*REVIEWS, LONG_REVIEW], 1)
    ]
    highlights = 0
    for analysis in analyses:
        assert list(analysis) == ["id", "text", "keywords", "truncated", "model_version"]
        assert (analysis["truncated"], analysis["model_version"]) == (False, "tiny-1")
        *predicted, overall = analysis["keywords"]
        assert (overall["keyword"], overall["probability"], overall["highlights"]) == ("만족도", 1.0, [])
        assert [k["probability"] for k in predicted] == sorted((k["probability"] for k in predicted), reverse=True)
        for keyword in analysis["keywords"]:
            best = max(range(5), key=keyword["sentiment_probabilities"].__getitem__)
            assert keyword["sentiment"] == tiny_artifact.labels.sentiments[best]
            assert keyword["score"] == best - 2
            assert sum(keyword["sentiment_probabilities"]) == pytest.approx(1, abs=1e-5)
            for highlight in keyword["highlights"]:
                highlights += 1
                assert analysis["text"][highlight["start"] : highlight["end"]] == highlight["text"]
                assert highlight["masked_probability"] < highlight["probability"] == keyword["probability"]
    assert highlights > 10


def test_all_formats_tell_the_same(analyze: RunAnalyze) -> None:
    as_json = json.loads(analyze(*REVIEWS, "--format", "json").stdout)
    assert json_lines(analyze(*REVIEWS, "--format", "jsonl").stdout) == as_json
    rows = list(csv.DictReader(io.StringIO(analyze(*REVIEWS, "--format", "csv").stdout)))
    assert [(row["id"], row["keyword"], row["probability"]) for row in rows] == [
        (a["id"], k["keyword"], str(k["probability"])) for a in as_json for k in a["keywords"]
    ]
    table = analyze(*REVIEWS).stdout
    assert "\x1b" not in table
    for row in rows:
        assert row["highlight"] in table


def test_colour_is_for_terminals_unless_it_is_asked_for(analyze: RunAnalyze) -> None:
    assert "\x1b[" in analyze(REVIEWS[0], "--color", "always", NO_COLOR="1").stdout
    assert "\x1b" not in analyze(REVIEWS[0], FORCE_COLOR="1").stdout


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "좋아요 정말\n\n네 그래요\n"),
        ("a.csv", "key,리뷰\n1,좋아요 정말\n3,네 그래요\n"),
        ("a.tsv", "key\t리뷰\n1\t좋아요 정말\n3\t네 그래요\n"),
        ("a.jsonl", '{"리뷰": "좋아요 정말", "key": 1}\n{"리뷰": "네 그래요", "key": "3"}\n'),
    ],
)
def test_input_formats_packed_and_plain(analyze: RunAnalyze, tmp_path: Path, name: str, content: str) -> None:
    plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
    plain.write_text(content, encoding="utf-8")
    packed.write_bytes(gzip.compress(content.encode()))
    columns = [] if name == "a.txt" else ["--text-column", "리뷰", "--id-column", "key"]
    outputs = [analyze("--input", source, *columns, "--format", "jsonl") for source in (plain, packed)]
    assert [run.returncode for run in outputs] == [0, 0]
    assert outputs[0].stdout == outputs[1].stdout
    assert [(a["id"], a["text"]) for a in json_lines(outputs[0].stdout)] == [("1", "좋아요 정말"), ("3", "네 그래요")]


def test_standard_input_in_many_chunks_keeps_the_order(analyze: RunAnalyze) -> None:
    texts = [f"{REVIEWS[number % len(REVIEWS)]} {number}번" for number in range(600)]
    run = analyze("--input", "-", "--format", "jsonl", "--highlight", "off", stdin="\n".join(texts))
    assert run.returncode == 0
    assert [a["text"] for a in json_lines(run.stdout)] == texts


def test_standard_input_may_be_json_lines(analyze: RunAnalyze) -> None:
    run = analyze("--input", "-", "--input-format", "jsonl", "--format", "jsonl", stdin='{"text": "네", "id": "가"}\n')
    assert [(a["id"], a["text"]) for a in json_lines(run.stdout)] == [("가", "네")]


def test_output_file_is_whole(analyze: RunAnalyze, tmp_path: Path) -> None:
    target = tmp_path / "결과.jsonl"
    target.write_text("old", encoding="utf-8")
    run = analyze(*REVIEWS, "--format", "jsonl", "--output", target)
    assert (run.returncode, run.stdout) == (0, "")
    assert len(json_lines(target.read_text(encoding="utf-8"))) == len(REVIEWS)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_empty_file_is_no_failure(analyze: RunAnalyze, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n", encoding="utf-8")
    run = analyze("--input", tmp_path / "a.txt", "--format", "json")
    assert (run.returncode, json.loads(run.stdout)) == (0, [])


def test_identical_texts_get_identical_results(analyze: RunAnalyze) -> None:
    first, second = json_lines(analyze(REVIEWS[0], REVIEWS[0], "--format", "jsonl").stdout)
    assert (first.pop("id"), second.pop("id")) == ("1", "2")
    assert first == second


def test_without_url_a_triton_is_started_and_stopped(tiny_repository: Path, tmp_path: Path) -> None:
    """From another folder, as a user with a checkout elsewhere would."""
    mark = f"reviewlens-test-{uuid.uuid4()}"
    run = subprocess.run(
        command("--model-repository", tiny_repository, "--format", "jsonl", REVIEWS[0]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"REVIEWLENS_TEST_MARK": mark},
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert json_lines(run.stdout)[0]["text"] == REVIEWS[0]
    assert marked_processes(mark) == []
