"""`python -m training.selection.simulate` on the sample reviews, with an encoder of random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.artifact import Artifact
from tests.functional.command_line import ROOT
from tests.functional.export.tiny_checkpoints import write_checkpoints
from tests.unit.test_loop_promotion import full_disk
from training.selection.rounds import simulate
from training.selection.simulate import main, read_points
from training.selection.simulation_report import Point

LABELLED = ROOT / "samples" / "labelled_reviews.jsonl"


@pytest.fixture(scope="module")
def simple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews of one keyword each, told by one word."""
    rows = [
        {"text": f"{size}번 {subject} {praise}", "labels": {keyword: score, "만족도": score}, "shop": f"{size % 2}"}
        for size in range(40)
        for subject, keyword in (("배송이", "배송"), ("사이즈가", "사이즈"), ("색상이", "색상"))
        for praise, score in (("좋아요", 1), ("별로예요", -1))
    ]
    file = tmp_path_factory.mktemp("data") / "simple.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def backbone(tiny_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoints(tmp_path_factory.mktemp("backbone"), tiny_artifact)[0]


@pytest.fixture
def arguments(simple: Path, backbone: Path, tmp_path: Path) -> list[str]:
    output = str(tmp_path / "simulation")
    arguments = ["--data", str(simple), "--backbone", str(backbone), "--output", output, "--max-length", "48"]
    return [*arguments, "--sizes", "10", "50", "90"]


def test_samples_can_be_simulated(arguments: list[str], tmp_path: Path) -> None:
    samples = [*arguments, "--data", str(LABELLED), "--seeds", "1", "--strategies", "random", "mix"]
    assert main([*samples, "--sizes", "50", "150"]) == 0
    random, mix = (point for point in read_points(tmp_path / "simulation" / "points.jsonl") if point.labels == 150)
    assert (random.strategy, mix.strategy) == ("random", "mix")
    assert random.characters != mix.characters


def test_probe_learns_from_what_every_strategy_buys(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--seeds", "1"]) == 0
    points = read_points(tmp_path / "simulation" / "points.jsonl")
    curves = {
        name: [point for point in points if point.strategy == name]
        for name in dict.fromkeys(point.strategy for point in points)
    }
    assert list(curves) == ["random", "proportional", "threshold", "sentiment", "vocabulary", "outliers", "mix"]
    for name, curve in curves.items():
        assert [point.labels for point in curve] == [10, 50, 90]
        assert curve[0].f1 == curves["random"][0].f1, "all begin with the same reviews"
        assert curve[2].f1["keyword micro"] > 0.9, name
        assert curve[2].f1["sentiment macro"] > 0.8, name
    assert "**keyword micro F1**, 1 seeds" in capsys.readouterr().out
    assert (tmp_path / "simulation" / "curves.png").stat().st_size > 5000


def test_a_simulation_goes_on_where_it_was_stopped(arguments: list[str], tmp_path: Path) -> None:
    common = [*arguments, "--strategies", "random", "threshold"]
    assert main([*common, "--seeds", "1"]) == 0
    points_file = tmp_path / "simulation" / "points.jsonl"
    first = points_file.read_text(encoding="utf-8")
    # As if it had been stopped before the second strategy.
    points_file.write_text("".join(first.splitlines(keepends=True)[:3]), encoding="utf-8")
    assert main([*common, "--seeds", "1", "2"]) == 0
    lines = points_file.read_text(encoding="utf-8")
    assert lines.startswith(first), "what was run is kept, and what was not is the same again"
    assert [(p.strategy, p.seed) for p in read_points(points_file)][6::3] == [("random", 2), ("threshold", 2)]


def test_a_full_disk_leaves_whole_curves(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    common = [*arguments, "--strategies", "random", "threshold", "--seeds", "1"]
    points_file = tmp_path / "simulation" / "points.jsonl"

    def then_full(*given: Any) -> Iterator[list[Point]]:
        first, second = simulate(*given)
        yield first
        with full_disk(points_file.stat().st_size + 100):
            yield second

    with monkeypatch.context() as patch:
        patch.setattr("training.selection.simulate.simulate", then_full)
        assert main(common) == 2
    assert "points.jsonl: cannot be written" in capsys.readouterr().err
    assert {(point.strategy, point.labels) for point in read_points(points_file)} == {
        ("random", size) for size in (10, 50, 90)
    }
    assert main(common) == 0
    whole = points_file.read_text(encoding="utf-8")
    # What an append of earlier versions left on a full disk.
    points_file.write_text(whole[:-30], encoding="utf-8")
    assert main(common) == 0
    assert points_file.read_text(encoding="utf-8") == whole
    assert "was cut short" in caplog.text
    points_file.write_text("{}\n" + whole, encoding="utf-8")
    assert main(common) == 2
    assert "points.jsonl:1: broken" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_told(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([*arguments, "--output", str(tmp_path / "file" / "simulation")]) == 2
    assert "file/simulation: cannot write" in capsys.readouterr().err


def test_fine_tuning_is_simulated_as_well(arguments: list[str], tmp_path: Path) -> None:
    plot = tmp_path / "images" / "curves.svg"
    recipe = ["--learner", "finetune", "--epochs", "20", "--learning-rate", "3e-3", "--token-budget", "512"]
    recipe += ["--no-bf16", "--attention", "eager", "--dropout", "0", "--seeds", "1", "--strategies", "mix"]
    assert main([*arguments, *recipe, "--sizes", "40", "120", "--plot", str(plot)]) == 0
    points = read_points(tmp_path / "simulation" / "points.jsonl")
    assert [point.labels for point in points] == [40, 120]
    assert set(points[0].f1) == {"keyword micro", "keyword macro"}
    assert points[1].f1["keyword micro"] > 0.8
    assert plot.read_text(encoding="utf-8").startswith("<?xml")
    settings = json.loads((tmp_path / "simulation" / "settings.json").read_text(encoding="utf-8"))
    assert settings["learner"] == "finetune"
    assert "epochs=20" in settings["recipe"]


def test_other_settings_want_another_folder(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "simulation").mkdir()
    (tmp_path / "simulation" / "settings.json").write_text('{"sizes": [10, 20]}', encoding="utf-8")
    assert main(arguments) == 2
    assert "'sizes': [10, 20]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--sizes", "100", "50"], "give ascending numbers of labels"),
        (["--sizes", "100", "1000"], "--sizes 1000: the pool has only "),
        (["--backbone", "/nowhere/backbone"], "--backbone /nowhere/backbone: no tokenizer could be loaded"),
    ],
)
def test_what_cannot_be_simulated_is_told(
    arguments: list[str], change: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *change]) == 2
    assert told in capsys.readouterr().err


def test_too_few_reviews_are_told(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text('{"text": "핏이 예뻐요", "labels": {"핏": 1, "만족도": 1}}\n', encoding="utf-8")
    arguments[1] = str(few)
    assert main(arguments) == 2
    assert "bring at least 100 such reviews" in capsys.readouterr().err
