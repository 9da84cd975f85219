"""The figures of a repository: which reviews they are of, what they hold, and files that give none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.functional.command_line import ROOT
from training import evaluate
from training.corpus import split_of

SAMPLES = ROOT / "samples" / "labelled_reviews.jsonl"


def evaluated(repository: Path, data: Path, output: Path, *more: str) -> dict[str, Any]:
    arguments = ["--repository", str(repository), "--data", str(data), "--output", str(output), *more]
    assert evaluate.main(arguments) == 0
    results: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return results


def test_each_split_is_evaluated_as_it_is_served(
    starter_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [json.loads(line)["text"] for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    for split in ("validation", "test"):
        results = evaluated(starter_repository, SAMPLES, tmp_path / "new" / f"{split}.json", "--split", split)
        assert results["split"] == split
        entry = results["files"][SAMPLES.name]
        assert entry["reviews"] == sum(split_of(text) == split for text in texts) > 5
        tables = entry["tables"]
        assert set(tables) == {"keywords", "sentiment", "sentiment by sign"}
        assert 0.5 < tables["keywords"]["micro avg"]["f1"] <= 1, "plain reviews, a model that was trained"
        assert "micro avg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"labels": {}}, "nothing to compare with"),
        ({"targets": {"핏": 0.7}}, "nothing to compare with"),
    ],
)
def test_a_file_without_labels_is_named(
    row: dict[str, Any], message: str, starter_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "reviews.jsonl"
    rows = [{"id": str(i), "text": f"핏이 {i}번째로 예뻐요", **row} for i in range(50)]
    data.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    assert evaluate.main(["--repository", str(starter_repository), "--data", str(data)]) == 2
    error = capsys.readouterr().err
    assert str(data) in error
    assert message in error
