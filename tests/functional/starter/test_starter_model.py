"""The shipped model says what a reader would say of plain reviews, and its repository is what export writes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.perf_input import OUTPUT, perf_input
from client.artifact import Artifact, sha256_of
from client.served import served_artifact_folder
from tests.functional.command_line import ROOT, command
from training.predictions import model_file

# Of each review: keyword, sign of the sentiment, and the words of which one must be the highlight.
EXPECTED: dict[str, list[tuple[str, int, set[str]]]] = {
    "옷은 예쁘지만 배송은 늦어요": [("디자인", 1, {"예쁘지만"}), ("배송", -1, {"배송은", "늦어요"})],
    "색상이 화면과 달라서 실망했는데 소재는 부드러워요": [
        ("색상", -1, {"색상이", "화면과", "달라서"}),
        ("소재", 1, {"소재는", "부드러워요"}),
    ],
    "사이즈가 너무 작아서 반품합니다": [("사이즈", -1, {"사이즈가", "작아서"})],
    "가격도 저렴하고 품질도 좋아요": [("가격", 1, {"가격도", "저렴하고"}), ("품질", 1, {"품질도"})],
    "따뜻하고 가벼워서 착용감이 편해요": [
        ("기능성", 1, {"따뜻하고"}),
        ("착용감", 1, {"가벼워서", "착용감이", "편해요"}),
    ],
    "길이가 짧아서 아쉽지만 핏은 예뻐요": [("길이", -1, {"길이가", "짧아서"}), ("핏", 1, {"핏은"})],
}


@pytest.fixture(scope="module")
def analyses(starter_repository: Path) -> dict[str, dict[str, Any]]:
    arguments: list[str | Path] = ["--model-repository", starter_repository, "--format", "json", *EXPECTED]
    done = subprocess.run(command(*arguments), capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    return {analysis["text"]: analysis for analysis in json.loads(done.stdout)}


@pytest.mark.parametrize("text", EXPECTED)
def test_plain_reviews_are_read_as_a_reader_would(text: str, analyses: dict[str, dict[str, Any]]) -> None:
    found = {keyword["keyword"]: keyword for keyword in analyses[text]["keywords"]}
    for name, sign, words in EXPECTED[text]:
        assert name in found, f"{name} of {sorted(found)}"
        assert found[name]["score"] * sign > 0, name
        assert found[name]["highlights"][0]["text"] in words, name
    assert analyses[text]["keywords"][-1]["keyword"] == "만족도"


def test_every_sample_review_is_analyzed(starter_repository: Path) -> None:
    done = subprocess.run(
        command("--model-repository", starter_repository, "--input", ROOT / "samples/reviews.txt", "--format", "jsonl"),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len((ROOT / "samples/reviews.txt").read_text(encoding="utf-8").splitlines())
    for row in rows:
        for keyword in row["keywords"]:
            for highlight in keyword["highlights"]:
                assert row["text"][highlight["start"] : highlight["end"]] == highlight["text"]


def test_perf_analyzer_input_is_current(starter_repository: Path) -> None:
    written = perf_input(starter_repository, ROOT / "samples" / "reviews.txt")
    assert OUTPUT.read_text(encoding="utf-8") == written, "run: python -m benchmarks.perf_input"


def test_model_card_names_the_files_by_hash(starter_repository: Path) -> None:
    folder = served_artifact_folder(starter_repository)
    card = (starter_repository / "README.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"`([\w/.]+)` \| `([0-9a-f]{64})`", card))
    files = [
        *(model_file(starter_repository, m, folder.name) for m in ("keyword_classifier", "sentiment_classifier")),
        *(folder / name for name in ("labels.json", "tokenizer.json")),
    ]
    assert named == {str(f.relative_to(starter_repository)): sha256_of(f.read_bytes()) for f in files}
    assert Artifact.load(folder).labels.model_version in card


def test_everything_shipped_is_small(starter_repository: Path) -> None:
    assert sum(path.stat().st_size for path in starter_repository.rglob("*")) < 40_000_000
