"""Asks the front door of this machine whether it is ready: `python -m server.front_door.healthcheck`, for containers.

It reads the server's own settings. Without TLS it calls `grpc.health.v1`. With TLS it would need a certificate that
the server trusts, so it reads the metrics, which have the same answer.
"""

from __future__ import annotations

import argparse
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client.errors import InvalidInputError, ReviewLensError, ServerUnavailableError
from server.front_door.configuration import SettingsFlags
from server.front_door.settings import Settings, split_address

DESCRIPTION = """\
Exit with 0 if the front door on this machine is ready, which means that both models answered their last inference.
Give the settings that the server has; in a container both read them from the environment."""
TIMEOUT_S = 4.0
READY = "reviewlens_ready 1.0"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - where to ask a server that listens there


def check_ready(settings: Settings) -> None:
    """Ask once, for at most ``TIMEOUT_S`` seconds.

    Raises:
        ServerUnavailableError: nothing answers, or the answer is that the models do not.
        InvalidInputError: the server has TLS and no metrics, so there is nothing to ask.
    """
    if settings.tls.certificate_file is None:
        _check_health(_local(settings.listen))
    elif settings.metrics.listen:
        _check_metrics(_local(settings.metrics.listen))
    else:
        raise InvalidInputError(
            "metrics.listen: empty, and with TLS the health check reads the metrics; set it to 127.0.0.1:9500"
        )


def _local(listen: str) -> str:
    """HOST:PORT to reach a server that listens at ``listen`` from its own machine."""
    host, port = split_address(listen)
    return f"{EVERYWHERE.get(host, host)}:{port}"


def _check_health(address: str) -> None:
    # A proxy of the environment is for other machines.
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            raise ServerUnavailableError(f"{address}: {error.code().name}: {error.details()}") from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        state = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise ServerUnavailableError(f"{address}: {state}; the server's log says why")


def _check_metrics(address: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}/metrics", timeout=TIMEOUT_S) as answer:
            lines = answer.read().decode().splitlines()
    except OSError as error:
        raise ServerUnavailableError(f"http://{address}/metrics: {error}") from None
    if READY not in lines:
        raise ServerUnavailableError(f"http://{address}/metrics: the models do not answer; the server's log says why")


def main(arguments: Sequence[str] | None = None) -> int:
    """Check; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m server.front_door.healthcheck", description=DESCRIPTION)
    parser.add_argument("--config", type=Path, metavar="FILE", help="the server's TOML file")
    flags = SettingsFlags(parser)
    parsed = parser.parse_args(arguments)
    try:
        check_ready(flags.load(parsed, parsed.config))
    except ReviewLensError as error:
        print(f"not ready: {error}", file=sys.stderr)
        return 1
    print("ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
