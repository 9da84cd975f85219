"""Arguments: what the command line takes, and that wrong ones are refused by name before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.arguments import MODEL_REPOSITORY, parse_arguments
from client.options import AnalysisOptions, BatchingOptions


def test_defaults() -> None:
    arguments = parse_arguments(["좋아요", "네"])
    assert arguments.texts == ("좋아요", "네")
    assert (arguments.input, arguments.url, arguments.output) == (None, None, None)
    assert arguments.format == "table"
    assert arguments.model_repository == MODEL_REPOSITORY == Path(__file__).parents[2] / "model_repository"
    assert (arguments.options, arguments.batching) == (AnalysisOptions(), BatchingOptions())


def test_options_reach_the_analysis() -> None:
    limits = ["--deadline", "2.5", "--token-budget", "512", "--max-characters", "300"]
    arguments = parse_arguments(["--input", "a.csv", "--highlight", "fast", "--url", "[::1]:8001", *limits])
    assert arguments.url == "[::1]:8001"
    assert arguments.options == AnalysisOptions(highlight="fast", max_characters=300)
    assert arguments.batching == BatchingOptions(token_budget=512, request_timeout_s=2.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give reviews either as arguments or with --input"),
        (["좋아요", "--input", "a.txt"], "give reviews either as arguments or with --input"),
        (["좋아요", "--text-column", "text"], "go with --input"),
        (["좋아요", "--format", "xml"], "invalid choice: 'xml'"),
        (["좋아요", "--url", "http://localhost:8000"], "is not HOST:PORT"),
        (["좋아요", "--url", "localhost"], "is not HOST:PORT"),
        (["좋아요", "--url", "localhost:99999"], "99999 is not a port (1 to 65535)"),
        (["좋아요", "--deadline", "0"], "'0' is not a number of seconds above 0"),
        (["좋아요", "--deadline", "nan"], "'nan' is not a number of seconds above 0"),
        (["좋아요", "--token-budget", "-5"], "'-5' is not a whole number above 0"),
        (["좋아요", "--max-characters", "many"], "'many' is not a whole number above 0"),
        (["--input", "a", "--input-format", "docx"], "invalid choice: 'docx'"),
    ],
)
def test_wrong_usage_exits_2_with_the_reason(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_arguments(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_help_shows_examples_and_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_arguments(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "--input reviews.csv --text-column" in text
    assert "exit status: 0" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--version"])
    assert capsys.readouterr().out.startswith("reviewlens 0.")
