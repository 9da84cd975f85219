"""What can be found wrong with a configuration before anything is started."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from client.encoding import Encoder
from client.errors import EmbeddedTritonError, InvalidInputError, ReviewLensError
from server.front_door.certificates import server_credentials
from server.front_door.deployment import analysis_defaults, batching_options
from server.front_door.models import wanted_plan
from server.front_door.rollout.plan import Source
from server.front_door.rollout.shadow import report_journal
from server.front_door.security import check_listen
from server.front_door.settings import Settings, split_address
from server.front_door.tokens import token_authenticator
from server.front_door.tracing import configure_tracing
from server.wheel import TritonWheel


def check(settings: Settings) -> list[str]:
    """Problems, each with the setting that it comes from; none for a configuration that can be started.

    Reads every file that the settings name; opens no port and calls no other machine but for names of hosts.
    """
    checks: list[Callable[[Settings], object]] = [
        _check_addresses,
        lambda s: check_listen(s.listen, s.tls),
        lambda s: server_credentials(s.tls),
        lambda s: token_authenticator(s.auth),
        lambda s: configure_tracing(s.tracing),
        _check_models,
        _check_embedded_triton,
        _check_report,
    ]
    problems = []
    for one in checks:
        try:
            one(settings)
        except ReviewLensError as error:
            problems.append(str(error))
    return list(dict.fromkeys(problems))  # a file that cannot be read is a problem of several checks


def _check_addresses(settings: Settings) -> None:
    for name, address in (
        ("listen", settings.listen),
        ("triton_url", settings.triton_url),
        ("metrics.listen", settings.metrics.listen),
    ):
        if address:
            host, port = split_address(address)
            try:
                socket.getaddrinfo(host.strip("[]"), port)
            except OSError as error:
                raise InvalidInputError(f"{name}: {address}: {host} has no address: {error.strerror}") from None
    if settings.listen == settings.metrics.listen and split_address(settings.listen)[1] != 0:
        raise InvalidInputError(f"metrics.listen: {settings.metrics.listen} is listen's, too; give it another port")


def _check_models(settings: Settings) -> None:
    """Of the versions to serve: what ``rollout.file`` says, or ``model_repository``."""
    batching_options(settings)
    for source in _sources(settings):
        artifact = source.artifact()
        Encoder(artifact)
        analysis_defaults(settings).validate(artifact.labels)


def _sources(settings: Settings) -> list[Source]:
    plan = wanted_plan(settings)
    return [plan.champion, *filter(None, [plan.challenger])]


def _check_embedded_triton(settings: Settings) -> None:
    if all(source.triton_url for source in _sources(settings)):
        return
    try:
        TritonWheel.find()
    except EmbeddedTritonError as error:
        raise InvalidInputError(f"triton_url: empty, so Triton is started here, but: {error}") from None


def _check_report(settings: Settings) -> None:
    report_journal(settings.rollout)
    file = settings.rollout.report_file
    if file and not Path(file).absolute().parent.is_dir():
        raise InvalidInputError(f"rollout.report_file: {file}: its folder is not there; make it, or name another one")
