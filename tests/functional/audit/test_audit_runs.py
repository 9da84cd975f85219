"""The audit from end to end on invented reviews: wrong labels are found, decided on, and corrected."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.functional.audit.conftest import WRONG_KEYWORD
from training.audit import __main__ as command
from training.audit import plant
from training.audit.decisions import read_decisions
from training.corpus import split_of
from training.data import LabelSet, read_labelled
from training.finetune import DEFAULT_LABEL_SET
from training.trainer import fit

FASHION = LabelSet.load(DEFAULT_LABEL_SET)


def arguments(train: Path, backbone: Path, output: Path, *more: str) -> list[str]:
    """A command line with settings small enough for a test."""
    line = ["--train", str(train), "--backbone", str(backbone), "--output", str(output), "--folds", "2"]
    line += ["--epochs", "40", "--learning-rate", "3e-3", "--token-budget", "1024", "--max-length", "48", "--no-bf16"]
    return [*line, "--attention", "eager", "--dropout", "0", *more]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "issues.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def audited(wrong: tuple[Path, set[str]], backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    assert command.main(arguments(wrong[0], backbone, folder)) == 0
    return folder


def test_wrong_labels_are_found(audited: Path, wrong: tuple[Path, set[str]]) -> None:
    in_training = {r.id for r in read_labelled(wrong[0], FASHION) if r.id in wrong[1] and split_of(r.text) == "train"}
    rows = rows_of(audited)
    found = [row["id"] for row in rows if row["keyword"] == WRONG_KEYWORD and row["action"] == "remove"]
    assert len(in_training) >= 5
    assert len(in_training & set(found)) >= 0.8 * len(in_training)
    assert {row["id"] for row in rows[: len(in_training) // 2]} <= in_training, "the plainest errors come first"
    with (audited / "summary.csv").open(encoding="utf-8-sig", newline="") as file:
        summary = {row["keyword"]: row for row in csv.DictReader(file)}
    assert int(summary[WRONG_KEYWORD]["wrong"]) == len(found)
    assert (audited / "issues.csv").read_bytes().startswith(b"\xef\xbb\xbf"), "by which Excel tells that it is UTF-8"
    assert f"{len(rows)} suspected labels" in (audited / "index.html").read_text(encoding="utf-8")


def test_decisions_correct_the_labels_and_are_not_asked_again(
    audited: Path, wrong: tuple[Path, set[str]], right: Path, backbone: Path, tmp_path: Path
) -> None:
    truth = {r.text: r.scores for r in read_labelled(right, FASHION)}
    decisions = tmp_path / "decisions.jsonl"
    with decisions.open("w", encoding="utf-8") as out:
        for row in rows_of(audited):
            score = truth[row["text"]].get(row["keyword"])
            verdict = ("keep" if row["score"] else "add") if score is not None else "remove"
            line = {"text": row["text"], "keyword": row["keyword"], "decision": verdict}
            out.write(json.dumps(line | {"score": score if verdict == "add" else None}) + "\n")
    corrected = read_decisions(decisions, FASHION).apply(read_labelled(wrong[0], FASHION))
    mistakes = [r.id for r in corrected if r.id in wrong[1] and dict(r.scores) != truth[r.text]]
    assert len(mistakes) <= 0.2 * len(wrong[1]) + sum(
        split_of(r.text) != "train" for r in corrected if r.id in wrong[1]
    )
    again = tmp_path / "again"
    assert command.main(arguments(wrong[0], backbone, again, "--decisions", str(decisions), "--epochs", "1")) == 0
    asked = {(row["text"], row["keyword"]) for row in rows_of(again)}
    assert not asked & {(row["text"], row["keyword"]) for row in rows_of(audited)}


def test_an_interrupted_audit_goes_on_with_its_fold(
    right: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        trained.append(len(trained))
        if len(trained) == 2:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr("training.audit.out_of_fold.fit", counted)
    line = arguments(right, backbone, tmp_path, "--epochs", "2")
    with pytest.raises(KeyboardInterrupt):
        command.main(line)
    first = tmp_path / "folds" / "fold-1-of-2.npz"
    stored = first.read_bytes()
    assert not (tmp_path / "index.html").exists()
    assert command.main(line) == 0
    assert len(trained) == 3, "the first fold is not trained again"
    assert first.read_bytes() == stored
    assert command.main(line) == 0
    assert len(trained) == 3, "nothing is left to train"
    assert sorted(p.name for p in (tmp_path / "folds").iterdir()) == ["fold-1-of-2.npz", "fold-2-of-2.npz", "tokenizer"]
    assert command.main([*line, "--learning-rate", "1e-3"]) == 0
    assert len(trained) == 5, "other settings, other probabilities"


def test_planted_errors_are_searched_and_removed(right: Path, backbone: Path, tmp_path: Path) -> None:
    planting = ["--keyword", WRONG_KEYWORD, "--share", "0.05", "--score", "-1"]
    assert plant.main([*arguments(right, backbone, tmp_path), *planting]) == 0
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    found = result["search"]
    assert found["model"]["planted"] == round(0.05 * result["reviews"])
    chance = found["model"]["planted"] / (found["model"]["planted"] + result["rightly_tagged"])
    assert found["model"]["average_precision"] > 2 * chance
    assert found["rules"]["recall"] == found["both"]["recall"] == 1, "no review without the keyword has a word of it"
    assert set(result["f1"]) == {"as it was", "planted", "less what the model flags", "less what either flags"}
    assert result["f1"]["as it was"]["f1"] > 0.9
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.name != "result.json" and p.is_file()}
    assert plant.main([*arguments(right, backbone, tmp_path), *planting]) == 0
    after = {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")} | {
        p.name: p.stat().st_mtime_ns for p in (tmp_path / "f1").glob("*.json")
    }
    assert after.items() <= before.items(), "all of it was stored"


@pytest.mark.parametrize(
    ("row", "more", "told"),
    [
        ({"labels": {"핏": 1}}, ["--folds", "1"], "--folds 1: 2 at least"),
        ({"labels": {"핏": 1}}, ["--folds", "50"], "folds empty; use fewer folds"),
        ({"labels": {"핏": 1}}, ["--rules", "none.json"], "none.json: cannot read the rules"),
        ({"labels": {"핏": 1}}, ["--decisions", "none.jsonl"], "none.jsonl: cannot open"),
        ({"targets": {"핏": 0.7}}, [], "has 'targets', which a model said"),
        ({"labels": {"향기": 1}}, [], "'향기' is not in the label set"),
    ],
)
def test_unusable_input_is_told(
    row: dict[str, Any], more: list[str], told: str, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "reviews.jsonl"
    rows = [{"text": f"{i}번째 핏이 좋아요"} | row for i in range(40)]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    assert command.main(arguments(file, backbone, tmp_path / "out", *more)) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--keyword", "향기"], "--keyword '향기' is not one of"),
        (["--keyword", "핏", "--score", "5"], "--score 5 is not one of"),
        (["--keyword", "신축성", "--share", "0.99"], "--share 0.99: "),
    ],
)
def test_what_cannot_be_planted_is_told(
    more: list[str], told: str, right: Path, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plant.main([*arguments(right, backbone, tmp_path), *more]) == 2
    assert told in capsys.readouterr().err
