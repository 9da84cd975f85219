"""The health check of containers, against the parts that it asks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.errors import InvalidInputError, ServerUnavailableError
from server.front_door.healthcheck import check_ready, main
from server.front_door.metrics import Metrics, start_metrics_server
from server.front_door.settings import Metrics as MetricsSettings
from server.front_door.settings import Settings, Tls

TLS = Tls(certificate_file=Path("tls.crt"), key_file=Path("tls.key"))


@pytest.fixture
def port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        free: int = holder.getsockname()[1]
        return free


@pytest.fixture
def metrics(port: int) -> Iterator[Metrics]:
    """Served on loopback."""
    metrics = Metrics()
    stop = start_metrics_server(metrics, "127.0.0.1", port)
    yield metrics
    stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])  # noqa: S104
def test_with_tls_the_metrics_tell(metrics: Metrics, port: int, host: str) -> None:
    settings = Settings(tls=TLS, metrics=MetricsSettings(listen=f"{host}:{port}"))
    with pytest.raises(ServerUnavailableError, match="the models do not answer"):
        check_ready(settings)
    metrics.watch_readiness(lambda: True)
    check_ready(settings)


def test_proxy_of_the_environment_is_not_asked(metrics: Metrics, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    metrics.watch_readiness(lambda: True)
    check_ready(Settings(tls=TLS, metrics=MetricsSettings(listen=f"127.0.0.1:{port}")))


def test_with_tls_and_without_metrics_it_says_what_to_set() -> None:
    with pytest.raises(InvalidInputError, match=r"metrics\.listen: empty"):
        check_ready(Settings(tls=TLS, metrics=MetricsSettings(listen="")))


def test_nobody_there_is_not_healthy(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--listen", f"127.0.0.1:{port}"]) == 1
    assert f"127.0.0.1:{port}: UNAVAILABLE" in capsys.readouterr().err
