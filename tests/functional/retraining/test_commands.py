"""The commands one by one, and what they say when they cannot do what they are told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from client.served import served_version
from tests.functional.retraining.invented import reviews, write
from training.corpus import split_of
from training.finetune import DEFAULT_LABEL_SET
from training.loop.__main__ import main


def test_a_model_is_not_better_than_itself(
    champion: Path, repository: Path, held_out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", held_out, "--output", str(tmp_path / "comparison.json")]
    assert main(["compare", "--champion", str(repository), "--challenger", str(champion), *data]) == 1
    told = capsys.readouterr().out
    assert "not better beyond noise" in told
    values = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert values["reviews"] > 40
    assert values["champion"] == values["challenger"]
    assert values["metrics"]["sentiment accuracy"]["better"] == 0.5
    assert values["decision"]["promote"] is False
    assert main(["promote", "--repository", str(repository), "--challenger", str(champion), *data]) == 1
    assert served_version(repository) == 1


@pytest.mark.parametrize(
    ("rows", "more", "told"),
    [
        (reviews([0]), [], "reviews of the test split (8 % of all) in it"),
        ([{"text": "핏이 좋아요", "labels": {"향": 1}}], [], "'향' is not in the label set"),
        (reviews(range(20)), ["--resamples", "10"], "--resamples 10"),
        (reviews(range(20)), ["--tolerance", "2"], "--tolerance 2"),
    ],
)
def test_what_cannot_be_compared(
    rows: list[dict[str, object]],
    more: list[str],
    told: str,
    champion: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = write(tmp_path / "data.jsonl", rows)
    arguments = ["--champion", str(champion), "--challenger", str(champion), "--data", str(data), *more]
    assert main(["compare", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_models_of_another_label_set_are_not_compared(
    champion: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = json.loads(DEFAULT_LABEL_SET.read_text(encoding="utf-8"))
    values["keywords"].append("향")
    label_set = tmp_path / "labels.json"
    label_set.write_text(json.dumps(values), encoding="utf-8")
    data = write(tmp_path / "data.jsonl", reviews(range(40)))
    arguments = ["--champion", str(champion), "--challenger", str(champion), "--label-set", str(label_set)]
    assert main(["compare", *arguments, "--data", str(data)]) == 2
    assert "only models of one label set can be compared" in capsys.readouterr().err


def test_run_needs_to_be_told_once(
    repository: Path,
    pool: Path,
    train_files: list[str],
    held_out: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    assert main(["run", str(run)]) == 2
    assert "give --repository, --pool, --train" in capsys.readouterr().err
    options = ["run", str(run), "--repository", str(repository), "--pool", str(pool), "--train", *train_files]
    options += ["--held-out", held_out]
    with pytest.raises(SystemExit):
        main([*options, "--training=--epoch 2 --no-such-option"])
    assert main([*options, "--rules", str(tmp_path / "nothing.json")]) == 2
    assert main([*options, "--overlap", "2"]) == 2
    assert main([*options, "--quota", "luck=100%"]) == 2
    assert not run.exists(), "nothing is begun that cannot be finished"
    assert main([*options, "--count", "12"]) == 3
    capsys.readouterr()
    broken = tmp_path / "broken.csv"
    broken.write_text("a,b\n1,2\n", encoding="utf-8")
    before = (run / "state.json").read_bytes()
    assert main(["run", str(run), "--labels", str(broken)]) == 2
    assert "no column id and text" in capsys.readouterr().err
    assert (run / "state.json").read_bytes() == before
    assert main(["run", str(run)]) == 3
    assert "give the files back" in capsys.readouterr().out
    blank = shutil.copy(run / "labelling" / "to_label.csv", tmp_path / "blank.csv")
    assert main(["run", str(run), "--labels", str(blank), "--accept"]) == 3, "nothing at all cannot be accepted"
    assert "0 of 12 reviews have labels that hold" in capsys.readouterr().out


def test_few_graded_reviews_do_not_decide_on_sentiments(
    champion: Path, pool: Path, train_files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = [row for row in reviews(range(100, 150)) if split_of(str(row["text"])) == "test"]
    signs = [
        {"id": row["id"], "text": row["text"], "aspects": [{"aspect": "핏", "polarity": 1, "span": row["text"]}]}
        for row in held_out[4:]
    ]
    data = str(write(tmp_path / "data.jsonl", [*held_out[:4], *signs]))
    output = tmp_path / "comparison.json"
    compared = ["compare", "--champion", str(champion), "--challenger", str(champion), "--data", data]
    assert main([*compared, "--output", str(output)]) == 1
    values = json.loads(output.read_text(encoding="utf-8"))
    assert values["graded"] == 4
    assert list(values["metrics"]) == ["keyword micro F1", "keyword macro F1"]
    assert "Sentiments are not compared: that takes 30 reviews" in capsys.readouterr().out
    assert main([*compared, "--primary", "sentiment accuracy"]) == 2
    run = ["run", str(tmp_path / "run"), "--repository", str(champion), "--pool", str(pool), "--train", *train_files]
    assert main([*run, "--held-out", data, "--primary", "sentiment macro F1"]) == 2
    told = capsys.readouterr().err
    assert "--primary sentiment accuracy: fewer than 30 held-out reviews have labels of five levels" in told
    assert "--primary sentiment macro F1: fewer than 30" in told
    assert not (tmp_path / "run").exists(), "it is told before anybody labels"


def test_arguments_that_do_not_go_together(champion: Path) -> None:
    for arguments in (["promote", "--repository", "a", "--challenger", "b"], ["status"], []):
        with pytest.raises(SystemExit):
            main(arguments)
