"""Reading the log of a Triton that did not start."""

from __future__ import annotations

import pytest

from server.triton_log import is_fatal, port_in_use, startup_errors, without_tables

LOAD = (
    r"""E0102 03:04:05.123456 77 model_lifecycle.cc:642] "failed to load 'a' version 1: Internal: ConfigError: """
    r'''config.pbtxt: output 'x': the ONNX graph has no such output\n\nAt:\n  /tmp/model.py(7): initialize\n"'''
)
ENSEMBLE = (
    r"""E0102 03:04:05.123456 77 model_repository_manager.cc:703] "Invalid argument: ensemble 'e' depends on 'a' """
    r'''which has no loaded version."'''
)
SYNTAX = (
    "[libprotobuf ERROR /build/text_format.cc:335] Error parsing text-format inference.ModelConfig: 3:17: "
    "Expected integer, got: sixty"
)
UNRELATED = [
    'I0102 03:04:05.123456 77 model_lifecycle.cc:472] "loading: a:1"',
    'E0102 03:04:05.123456 77 server.cc:241] "CudaDriverHelper has not been initialized."',
]
GAVE_UP = "error: creating server: Internal - failed to load all models"
PORT = (
    'E0102 03:04:05.123456 77 main.cc:245] "failed to start GRPC service: Unavailable - '
    "Socket '127.0.0.1:8001' already in use \""
)


def test_the_model_s_own_error_comes_without_traceback_and_consequences() -> None:
    assert startup_errors([*UNRELATED, LOAD, LOAD, ENSEMBLE, GAVE_UP]) == [
        "failed to load 'a' version 1: Internal: ConfigError: config.pbtxt: output 'x': "
        "the ONNX graph has no such output"
    ]


def test_syntax_errors_of_a_configuration_keep_line_and_column() -> None:
    (error,) = startup_errors([*UNRELATED, SYNTAX, GAVE_UP])
    assert error.endswith("3:17: Expected integer, got: sixty")


def test_consequences_stand_when_no_cause_is_known() -> None:
    assert startup_errors([ENSEMBLE]) == ["Invalid argument: ensemble 'e' depends on 'a' which has no loaded version."]
    assert startup_errors(UNRELATED) == []


@pytest.mark.parametrize(("line", "fatal", "port"), [(GAVE_UP, True, False), (PORT, True, True), (LOAD, False, False)])
def test_lines_after_which_the_server_ends(line: str, fatal: bool, port: bool) -> None:
    assert is_fatal(line) is fatal
    assert port_in_use([*UNRELATED, line]) is port


def test_tables_are_dropped() -> None:
    table = ["I0102 03:04:05.123456 77 server.cc:604] ", "+---+", "| a |", "+---+", ""]
    assert without_tables([*table, *UNRELATED]) == UNRELATED
