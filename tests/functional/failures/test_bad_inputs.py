"""Bad reviews, files and options: what each is reported as, and that everything beside it is delivered."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from server.embedded import EmbeddedTriton
from tests.functional.command_line import command, json_lines
from tests.functional.conftest import RunAnalyze
from tests.functional.reviews import REVIEWS

GOOD = REVIEWS[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the review is empty"),
        (" \t ", "whitespace only"),
        ("가" * 100_000, "100,000 characters, 10,000 at most"),
        ("널\0문자", "NUL"),
    ],
    ids=["empty", "whitespace", "too long", "NUL"],
)
def test_a_review_that_cannot_be_analyzed_fails_alone(
    analyze: RunAnalyze, tmp_path: Path, text: str, message: str
) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text("\n".join(json.dumps({"text": review}) for review in (GOOD, text, GOOD)), encoding="utf-8")
    run = analyze("--input", source, "--format", "jsonl")
    first, bad, last = json_lines(run.stdout)
    assert run.returncode == 1
    assert (bad["id"], bad["text"], bad["keywords"], bad["error"]["code"]) == ("2", text, [], "INVALID_ARGUMENT")
    assert message in bad["error"]["message"]
    assert first["keywords"] == last["keywords"] != []
    assert f"{source}, line 2: INVALID_ARGUMENT: {bad['error']['message']}" in run.stderr.split("\n")


def test_a_bad_argument_is_reported_by_its_number(analyze: RunAnalyze) -> None:
    run = analyze(GOOD, "", "--format", "jsonl")
    assert run.returncode == 1
    assert run.stderr.startswith("review 2: INVALID_ARGUMENT: the review is empty")


@pytest.mark.parametrize("text", ["좋아요", "😀🎉👍", "a", "ㅋㅋㅋㅋ", "좋" * 2_000, "<mask> </s>", "漢字 한글 مرحبا"])
def test_unusual_reviews_are_analyzed(analyze: RunAnalyze, text: str) -> None:
    run = analyze(text, "--format", "jsonl")
    (analysis,) = json_lines(run.stdout)
    assert run.returncode == 0
    assert analysis["text"] == text
    assert analysis["keywords"][-1]["keyword"] == "만족도"
    for keyword in analysis["keywords"]:
        for highlight in keyword["highlights"]:
            assert text[highlight["start"] : highlight["end"]] == highlight["text"]


def test_a_very_long_review_is_analyzed_where_the_limit_allows(analyze: RunAnalyze) -> None:
    # Numbered: a text that repeats has the same window twice, and masking a word in one of them changes nothing.
    text = " ".join(f"{REVIEWS[number % len(REVIEWS)]} {number}번" for number in range(240))
    run = analyze(text, "--format", "jsonl", "--highlight", "fast", "--max-characters", "20000")
    (analysis,) = json_lines(run.stdout)
    assert (run.returncode, len(text) > 4_000) == (0, True)
    assert any(keyword["highlights"] for keyword in analysis["keywords"])


def test_lines_of_a_file_fail_with_their_number(analyze: RunAnalyze, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_bytes(
        "\n".join([GOOD, "  ", "널\0문자"]).encode() + b"\n" + "좋아요".encode("cp949") + f"\n{GOOD}".encode()
    )
    run = analyze("--input", source, "--format", "jsonl")
    analyses = json_lines(run.stdout)
    assert run.returncode == 1
    assert [a["id"] for a in analyses] == ["1", "2", "3", "4", "5"]
    assert ["error" in a for a in analyses] == [False, True, True, True, False]
    assert [a["error"]["line"] for a in analyses if "error" in a] == [2, 3, 4]
    reports = run.stderr.strip().split("\n")
    assert [report.split(": ")[0] for report in reports[:3]] == [f"{source}, line {number}" for number in (2, 3, 4)]
    assert "NUL" in reports[1]
    assert "not UTF-8" in reports[2]
    assert reports[3] == "3 of 5 reviews failed"


def test_broken_json_lines_fail_with_their_number(analyze: RunAnalyze, tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    lines = [
        f'{{"text": "{GOOD}", "id": "x"}}',
        '{"text": "열린',
        '{"text": 3}',
        '{"text": ["목록"]}',
        '{"text": "\\ud800"}',
    ]
    source.write_text("\n".join(lines), encoding="utf-8")
    run = analyze("--input", source, "--format", "jsonl")
    good, *bad = json_lines(run.stdout)
    assert run.returncode == 1
    assert (good["id"], "error" in good) == ("x", False)
    assert [a["error"]["line"] for a in bad] == [2, 3, 4, 5]
    for part, analysis in zip(("not JSON", "a number", "a list", "surrogate"), bad, strict=True):
        assert part in analysis["error"]["message"]


def test_failed_rows_are_in_every_format(analyze: RunAnalyze) -> None:
    for name in ("table", "json", "jsonl", "csv"):
        run = analyze(GOOD, "", "--format", name)
        assert run.returncode == 1
        assert "the review is empty" in run.stdout


def test_missing_column_lists_those_there_are(analyze: RunAnalyze, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("번호,리뷰\n1,좋아요\n", encoding="utf-8")
    run = analyze("--input", source)
    assert (run.returncode, run.stdout) == (2, "")
    assert "no column 'text'; the columns are: 번호, 리뷰" in run.stderr


def test_missing_file_and_unwritable_output_exit_2(analyze: RunAnalyze, tmp_path: Path) -> None:
    missing = analyze("--input", tmp_path / "none.txt")
    assert (missing.returncode, missing.stderr) == (
        2,
        f"error: {tmp_path / 'none.txt'}: cannot be read: No such file or directory\n",
    )
    unwritable = analyze(GOOD, "--output", tmp_path / "none" / "a.json")
    assert unwritable.returncode == 2
    assert "cannot be written: No such file or directory" in unwritable.stderr


@pytest.mark.parametrize("name", ["table", "json", "jsonl", "csv"])
def test_a_full_disk_is_named_and_exits_2(analyze: RunAnalyze, name: str) -> None:
    run = analyze(GOOD, "--output", "/dev/full", "--format", name)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "error: --output /dev/full: cannot be written: No space left on device\n"


def test_a_full_standard_output_is_named_and_exits_2(tiny_triton: EmbeddedTriton, tiny_repository: Path) -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            command("--model-repository", tiny_repository, "--url", tiny_triton.grpc_url, GOOD),
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
        )
    assert run.returncode == 2
    assert run.stderr == "error: standard output: cannot be written: No space left on device\n"


def test_an_input_without_reviews_is_said(analyze: RunAnalyze, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.touch()
    run = analyze("--input", source, "--format", "json")
    assert (run.returncode, json.loads(run.stdout), run.stderr) == (0, [], f"{source}: no reviews in it\n")


def test_labels_that_are_not_utf8_are_named(analyze: RunAnalyze, tiny_repository: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_repository, tmp_path / "other")
    labels = tmp_path / "other" / "review_analysis" / "1" / "labels.json"
    labels.write_bytes(b"\xff\xfe")
    run = analyze(GOOD, "--model-repository", tmp_path / "other")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(f"error: {labels}: not UTF-8: ")


def test_cut_gzip_delivers_what_was_read_and_exits_2(analyze: RunAnalyze, tmp_path: Path) -> None:
    source = tmp_path / "a.txt.gz"
    texts = [f"{GOOD} {number * 7919 % 1_000_003}" for number in range(2_000)]
    source.write_bytes(gzip.compress("\n".join(texts).encode())[:-3000])
    target = tmp_path / "out.jsonl"
    run = analyze("--input", source, "--format", "jsonl", "--highlight", "off", "--output", target)
    assert run.returncode == 2
    assert "broken gzip data" in run.stderr
    assert f"{target}.partial holds the results so far" in run.stderr
    assert not target.exists()
    delivered = json_lines((tmp_path / "out.jsonl.partial").read_text(encoding="utf-8"))
    assert [a["text"] for a in delivered] == texts[: len(delivered)]
    assert len(delivered) > 100
