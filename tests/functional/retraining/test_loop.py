"""The whole loop, killed after every step: from a pool to a better model that Triton serves, and back."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from client.analyzer import analyze_reviews
from client.artifact import Artifact
from client.served import served_artifact_folder, served_version
from server.embedded import EmbeddedTriton
from tests.functional.retraining.invented import fill_in, reviews
from training.loop.__main__ import main
from training.loop.files import locked
from training.loop.settings import Run
from training.loop.steps import STEPS

TRUTH = {row["id"]: row["labels"] for row in reviews(range(30))}


class KilledError(BaseException):
    """Ends a call as a kill would: nobody catches it."""


def served_by_triton(repository: Path) -> str:
    """The model version of a reply of an embedded Triton on this repository, through the client."""
    artifact = Artifact.load(served_artifact_folder(repository))
    with EmbeddedTriton(repository, threads=1) as triton:
        (analysis,) = analyze_reviews(["배송이 최고예요"], triton.grpc_url, artifact)
    assert not analysis.HasField("error")
    return str(analysis.model_version)


def test_loop(
    repository: Path,
    pool: Path,
    train_files: list[str],
    held_out: str,
    training: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    killed_at: list[str] = []
    finish = Run.finish

    def killed_once(self: Run, step: str, result: dict[str, Any], seconds: float) -> None:
        if step not in killed_at:
            killed_at.append(step)
            raise KilledError
        finish(self, step, result, seconds)

    monkeypatch.setattr(Run, "finish", killed_once)

    def call(*arguments: str) -> int:
        """The command, given again, as it was, for as long as it is killed; new labels come only once."""
        try:
            return main(["run", str(run), *arguments])
        except KilledError:
            return call()

    options = ["--repository", str(repository), "--pool", str(pool), "--train", *train_files]
    options += ["--held-out", held_out, "--count", "150", "--quota", "proportional=60%", "--quota", "threshold=40%"]
    options += ["--labellers", "2", "--overlap", "0.2", "--enough", "1", "--precision", "fp32"]
    # Sentiments are learned in no time, keywords are not: the rule goes by the former.
    options += ["--training", f"{training} --epochs 1", "--sentiment-training=--epochs 2"]
    options += ["--primary", "sentiment accuracy"]
    assert call(*options) == 3
    assert "give the files back" in capsys.readouterr().out
    assert "Waiting for labels" in (run / "report.md").read_text(encoding="utf-8")

    # Two people fill in their sheets. One of them errs twice, and nobody can say of a sample but how it sounds.
    selected = [json.loads(line) for line in (run / "selected.jsonl").read_text(encoding="utf-8").splitlines()]
    labels = {row["id"]: TRUTH.get(row["id"], {"만족도": 0}) for row in selected}
    assert sum(row["id"] in TRUTH for row in selected) > 60
    both = _ids(run / "labelling" / "to_label-1.csv") & _ids(run / "labelling" / "to_label-2.csv")
    assert len(both) == 30
    disputed = min(both & set(TRUTH))
    alone = min(_ids(run / "labelling" / "to_label-2.csv") - both)
    kim = fill_in(run / "labelling" / "to_label-1.csv", tmp_path / "kim.csv", labels)
    erring = {**labels, disputed: {**labels[disputed], "만족도": -2}, alone: {"만족도": 5}}
    lee = fill_in(run / "labelling" / "to_label-2.csv", tmp_path / "lee.csv", erring)
    assert call("--labels", str(kim), str(lee)) == 3
    returned = run / "returned.csv"
    assert _ids(returned) >= {disputed, alone}
    assert call("--labels", str(fill_in(returned, tmp_path / "decided.csv", labels))) == 0
    assert killed_at == list(STEPS)

    assert served_version(repository) == 2
    state = json.loads((run / "state.json").read_text(encoding="utf-8"))["finished"]
    assert state["labels"]["kept"] == 150
    assert state["labels"]["labelled_twice"] == 30
    assert 0 < state["labels"]["sentiment_agreement"]["kappa"] < 1
    assert state["compare"]["metrics"]["sentiment accuracy"]["low"] > 0.3
    report = (run / "report.md").read_text(encoding="utf-8")
    promoted = Artifact.load(served_artifact_folder(repository)).labels.model_version
    assert f"**Promoted: version 2 (`{promoted}`) is served.**" in report
    for part in ("## Selected", "## Labels", "## Training", "## Comparison", "## Decision", "threshold", "kappa"):
        assert part in report
    assert (run / "report.json").is_file()

    assert served_by_triton(repository) == promoted
    assert main(["rollback", "--repository", str(repository), "--why", "complaints"]) == 0
    assert served_by_triton(repository) == state["compare"]["champion"]
    assert (repository / "keyword_classifier" / "2" / "model.onnx").is_file()

    assert (
        main(["promote", "--repository", str(repository), "--challenger", str(run / "challenger"), "--why", "no"]) == 0
    )
    capsys.readouterr()
    assert main(["run", str(run), "--again", "compare"]) == 0, "the champion is now the very same model"
    assert "not better beyond noise" in (run / "report.md").read_text(encoding="utf-8")
    assert served_version(repository) == 2
    assert main(["status", "--run", str(run), "--repository", str(repository)]) == 0
    shown = capsys.readouterr().out
    assert f"{promoted}  served" in shown
    assert "rollback 2 -> 1: complaints" in shown
    with locked(run):
        assert main(["run", str(run)]) == 2
    assert main(["run", str(run), "--count", "3"]) == 2
    told = capsys.readouterr().err
    assert "another process works on it" in told
    assert "was begun with 150" in told


def _ids(sheet: Path) -> set[str]:
    with sheet.open(encoding="utf-8-sig", newline="") as rows:
        return {row["id"] for row in csv.DictReader(rows)}
