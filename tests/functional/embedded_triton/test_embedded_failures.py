"""A server that cannot start says why, in the model's own words, and leaves nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from client.errors import EmbeddedTritonError
from server.embedded import EmbeddedTriton
from tests.functional.embedded_triton.tiny_models import write_repository


def failure(repository: Path) -> str:
    """The message with which a server for the repository fails, without the log's end."""
    with pytest.raises(EmbeddedTritonError) as caught:
        EmbeddedTriton(repository).start()
    assert caught.value.code == "UNAVAILABLE"
    message, log = str(caught.value).split("the end of its log:")
    assert log.count("\n") > 3
    return message


def test_corrupt_model_gives_its_own_error(repository: Path) -> None:
    (repository / "keyword_classifier" / "1" / "model.onnx").write_bytes(b"not an ONNX file")
    message = failure(repository)
    assert "'keyword_classifier' version 1" in message
    assert "INVALID_PROTOBUF" in message
    assert "sentiment_classifier" not in message
    assert "At:" not in message


@pytest.mark.parametrize(
    ("model", "old", "new", "parts"),
    [
        (
            "keyword_classifier",
            '"token_count"',
            '"tokens"',
            ["output 'tokens'", "no such output", "'keyword_probs', 'token_count'"],
        ),
        (
            "keyword_classifier",
            "TYPE_FP32 dims: [3]",
            "TYPE_FP16 dims: [3]",
            ["output 'keyword_probs'", "TYPE_FP16", "tensor(float)"],
        ),
        (
            "sentiment_classifier",
            '"enable_mem_arena"',
            '"enable_arena"',
            ["parameters: 'enable_arena'", "not supported"],
        ),
        ("keyword_classifier", "max_batch_size: 64", "max_batch_size: sixty", ["config.pbtxt", "sixty"]),
    ],
)
def test_field_that_does_not_fit_is_named(repository: Path, model: str, old: str, new: str, parts: list[str]) -> None:
    config = repository / model / "config.pbtxt"
    text = config.read_text(encoding="utf-8")
    assert old in text
    config.write_text(text.replace(old, new), encoding="utf-8")
    message = failure(repository)
    for part in parts:
        assert part in message


def test_repository_without_models_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedTritonError, match=rf"{tmp_path}.*config\.pbtxt"):
        EmbeddedTriton(tmp_path).start()


def test_fixed_port_in_use_is_named(shared_repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedTritonError, match=rf"port {port} on 127\.0\.0\.1: Address already in use"):
            EmbeddedTriton(shared_repository, grpc_port=port).start()


def test_too_short_a_timeout_is_named(shared_repository: Path) -> None:
    with pytest.raises(EmbeddedTritonError, match=r"not ready after 0\.001 s.*startup_timeout_s"):
        EmbeddedTriton(shared_repository, startup_timeout_s=0.001).start()


def test_failed_start_leaves_no_folder_and_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "repository"
    server = EmbeddedTriton(repository)
    with pytest.raises(EmbeddedTritonError):
        server.start()
    write_repository(repository)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    graph = repository / "sentiment_classifier" / "1" / "model.onnx"
    sound = graph.read_bytes()
    graph.write_bytes(b"")
    with pytest.raises(EmbeddedTritonError, match="sentiment_classifier"):
        server.start()
    assert not list(temporary.iterdir())
    with pytest.raises(EmbeddedTritonError, match="not running"):
        _ = server.pid
    graph.write_bytes(sound)
    with server:
        assert server.pid
        assert len(list(temporary.iterdir())) == 1
        with pytest.raises(EmbeddedTritonError, match="running at"):
            server.start()
    assert not list(temporary.iterdir())
    server.stop()
