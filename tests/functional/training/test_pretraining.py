"""What pretraining says when it cannot go on. That it learns, and resumes, is seen by the fixture of the backbone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from training import pretrain

TINY = ["--layers", "1", "--hidden-size", "64", "--no-compile", "--initializer-range", "0.1", "--vocab-size", "400"]
TINY += ["--token-budget", "2048", "--max-length", "64", "--tokens", "70000"]


def failure(data: Path, output: Path, *more: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert pretrain.main(["--data", str(data), "--output", str(output), *TINY, *more]) == 2
    return capsys.readouterr().err


def test_a_corpus_that_is_missing_or_broken_is_named(
    corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(corpora, data)
    film = data / "film_reviews.tsv.gz"
    film.write_text("good\t영화\n", encoding="utf-8")
    assert f"{film}:1: 'good' is not a rating" in failure(data, tmp_path / "out", capsys=capsys)
    film.unlink()
    assert f"{film}: cannot open" in failure(data, tmp_path / "out", capsys=capsys)


@pytest.mark.parametrize(("flag", "value", "was"), [("layers", "2", "1"), ("learning-rate", "0.1", "0.002")])
def test_a_run_is_not_mixed_with_one_of_other_settings(
    flag: str, value: str, was: str, corpora: Path, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    shutil.copytree(backbone, output)
    error = failure(corpora, output, f"--{flag}", value, capsys=capsys)
    assert f"--{flag} {value}: the run in {output} was begun with {was}" in error
    assert "another --output" in error
