"""Plots of the shipped model and of small learning curves: files as a browser reads them, with Korean as text."""

from __future__ import annotations

import itertools
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from client.artifact import Artifact, newest_artifact_folder
from tests.functional.command_line import ROOT
from training import curves
from training.data import LabelSet, read_labelled
from training.finetune import DEFAULT_LABEL_SET
from training.plots import __main__ as plots

SAMPLES = ROOT / "samples" / "labelled_reviews.jsonl"


def texts_of(file: Path) -> list[str]:
    return [text for element in ET.parse(file).iter() if (text := (element.text or "").strip())]  # noqa: S314


@pytest.fixture(scope="module")
def drawn(starter_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plots")
    arguments = ["--repository", str(starter_repository), "--data", str(SAMPLES), "--split", "all"]
    assert plots.main([*arguments, "--output", str(out)]) == 0
    return out


def test_labels_stand_as_text_in_every_plot(drawn: Path, starter_repository: Path) -> None:
    labels = Artifact.load(newest_artifact_folder(starter_repository)).labels
    assert set(texts_of(drawn / "sentiment_confusion.svg")) >= set(labels.sentiments)
    shown = "\n".join(texts_of(drawn / "keyword_precision_recall.svg"))
    for keyword, threshold in zip(labels.keywords, labels.thresholds, strict=True):
        assert re.search(rf"threshold {threshold:.2f}\nP .*\nAP .*\n{keyword} \(n = \d+\)", shown), keyword
    errors = re.findall(r"expected calibration error (0\.\d+)", "\n".join(texts_of(drawn / "reliability.svg")))
    assert len(errors) == 2


def test_no_review_stands_in_a_plot(drawn: Path) -> None:
    files = "".join(file.read_text(encoding="utf-8") for file in drawn.iterdir())
    reviews = [review.text for review in read_labelled(SAMPLES, LabelSet.load(DEFAULT_LABEL_SET))]
    assert not [text for text in reviews if text[:12] in files]


def test_counts_of_the_confusion_matrix_are_all_tagged_pairs(drawn: Path) -> None:
    shown = texts_of(drawn / "sentiment_confusion.svg")
    counts = [int(below) for share, below in itertools.pairwise(shown) if share.endswith("%")]
    reviews = read_labelled(SAMPLES, LabelSet.load(DEFAULT_LABEL_SET))
    assert len(counts) == 25
    assert sum(counts) == sum(len(review.scores) for review in reviews)


def curve_arguments(backbone: Path, out: Path, *sizes: object) -> list[str]:
    arguments: list[object] = ["keyword", "--data", SAMPLES, "--output", out, "--backbone", backbone, "--seeds", 1]
    arguments += ["--epochs", 1, "--max-length", 64, "--no-bf16", "--attention", "eager", "--sizes", *sizes]
    return [str(argument) for argument in arguments]


def test_curves_go_on_point_by_point_and_are_drawn(
    tiny_roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "curves.json"
    assert curves.main(curve_arguments(tiny_roberta, out, 40, 20)) == 0
    first = json.loads(out.read_text(encoding="utf-8"))["points"]
    assert [point["reviews"] for point in first] == [20, 40]
    assert curves.main(curve_arguments(tiny_roberta, out, 20, 40, "all")) == 0
    points = json.loads(out.read_text(encoding="utf-8"))["points"]
    assert points[:2] == first, "what is measured is not measured again"
    assert len(points) == 3
    assert points[2]["reviews"] > 150
    assert {path.name for path in tmp_path.iterdir()} == {"curves.json"}, "nothing is left of the training"
    capsys.readouterr()
    assert plots.main(["--curves", str(out), "--output", str(tmp_path / "plots")]) == 0
    assert "keyword micro F1: 3 sizes are too few for a power law" in capsys.readouterr().out
    shown = texts_of(tmp_path / "plots" / "learning_curves.svg")
    assert {"20", "40", "training reviews", "keyword micro F1 (no power law)"} <= set(shown)


def test_a_law_is_drawn_ahead_of_the_data(tmp_path: Path) -> None:
    points = [
        curves.Point("keyword", size, 1, 3, {"keyword micro F1": 1 - 2 * size**-0.5}, 1)
        for size in (500, 1000, 2000, 4000, 8000)
    ]
    curves.Curves({}, tuple(points)).write(tmp_path / "curves.json")
    drawn = []
    for _ in range(2):
        assert plots.main(["--curves", str(tmp_path / "curves.json"), "--output", str(tmp_path)]) == 0
        drawn.append((tmp_path / "learning_curves.svg").read_bytes())
    assert drawn[0] == drawn[1], "the same plot is the same file"
    shown = texts_of(tmp_path / "learning_curves.svg")
    assert {"16,000", "32,000", f"{1 - 2 * 16000**-0.5:.3f}", "power law"} <= set(shown)


def test_larger_parts_hold_the_smaller_ones() -> None:
    reviews = list(read_labelled(SAMPLES, LabelSet.load(DEFAULT_LABEL_SET)))
    small, large, other = (curves.nested_part(reviews, n, seed) for n, seed in ((20, 1), (50, 1), (20, 2)))
    assert large[:20] == small != other
    assert len({review.id for review in large}) == 50


def test_points_of_another_recipe_are_not_mixed_in(
    tiny_roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "curves.json"
    assert curves.main(curve_arguments(tiny_roberta, out, 20)) == 0
    assert curves.main([*curve_arguments(tiny_roberta, out, 20), "--learning-rate", "1e-3"]) == 2
    assert "another recipe; give another --output" in capsys.readouterr().err
    assert curves.main(curve_arguments(tiny_roberta, out, 5000)) == 2
    assert "--sizes: the training split has" in capsys.readouterr().err


def test_unusable_arguments_are_told(
    starter_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: object) -> str:
        assert plots.main([*map(str, arguments), "--output", str(tmp_path)]) == 2
        return capsys.readouterr().err

    assert "give --repository with --data" in told("--data", SAMPLES)
    assert "cannot read the curves" in told("--curves", tmp_path / "none.json")
    assert "not what training.curves writes" in told("--curves", SAMPLES)
    file = tmp_path / "one.jsonl"
    file.write_text('{"text": "핏이 좋아요", "completion": ""}\n', encoding="utf-8")
    model = ("--repository", starter_repository, "--data")
    assert "no review with scores in the split 'all'" in told(*model, file, "--split", "all")
