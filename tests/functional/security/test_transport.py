"""TLS and client certificates: who gets in, who does not, and certificates that change while the server runs."""

from __future__ import annotations

import asyncio
import logging
import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from server.front_door.server import FrontDoor
from tests.functional.security.authority import Authority, Certificate, common_name
from tests.functional.security.calls import REVIEW, analyze, channel_to, check_health
from tests.functional.security.doors import OpenDoor

ANALYZE = "reviewlens.v1.ReviewAnalysisService/Analyze"
EXPIRED = timedelta(days=-1)


def tls_settings(folder: Path, server: Certificate, client_authority: Authority | None = None) -> dict[str, object]:
    """Settings with the files of a server's certificate; looked at again for practically every connection."""
    certificate, key = server.write(folder, "server")
    settings: dict[str, object] = {"certificate_file": certificate, "key_file": key, "reload_s": 0.001}
    if client_authority is not None:
        settings["client_ca_file"] = folder / "clients.pem"
        (folder / "clients.pem").write_bytes(client_authority.certificate)
    return settings


def calls_of(door: FrontDoor) -> float:
    """Analyze calls that reached the server, however they ended."""
    values = (
        door.metrics.registry.get_sample_value("reviewlens_requests_total", {"method": ANALYZE, "code": code})
        for code in ("OK", "UNAUTHENTICATED", "UNAVAILABLE", "CANCELLED")
    )
    return sum(value or 0 for value in values)


async def test_only_clients_with_a_good_certificate_get_in(
    open_door: OpenDoor, authority: Authority, stranger: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    door = await open_door(tls=tls_settings(tmp_path, authority.issue("server"), authority))
    shop = authority.issue("shop")
    refused = {
        "no TLS": channel_to(door),
        "a client that trusts another authority": channel_to(door, stranger, shop),
        "no certificate": channel_to(door, authority),
        "a certificate of another authority": channel_to(door, authority, stranger.issue("shop")),
        "an expired certificate": channel_to(door, authority, authority.issue("shop", valid_for=EXPIRED)),
    }
    for what, channel in refused.items():
        async with channel:
            assert (await analyze(channel)).code == "UNAVAILABLE", what
    assert calls_of(door) == 0, "not one of them came so far as to be a call"

    async with channel_to(door, authority, shop) as channel:
        assert await check_health(channel) == "SERVING"
        assert (await analyze(channel)).text == REVIEW
    calls = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "call"]
    assert calls[-1]["client"] == "certificate:shop"


async def test_without_client_certificates_tls_still_shows_who_the_server_is(
    open_door: OpenDoor, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    door = await open_door(tls=tls_settings(tmp_path, authority.issue("server")))
    async with channel_to(door, authority) as channel:
        assert (await analyze(channel)).code == "OK"
    async with channel_to(door, stranger) as channel:
        assert (await analyze(channel)).code == "UNAVAILABLE"


async def test_a_client_refuses_an_expired_server(open_door: OpenDoor, authority: Authority, tmp_path: Path) -> None:
    door = await open_door(tls=tls_settings(tmp_path, authority.issue("server", valid_for=EXPIRED)))
    async with channel_to(door, authority) as channel:
        assert (await analyze(channel)).code == "UNAVAILABLE"


async def test_a_new_certificate_serves_new_connections_while_old_ones_go_on(
    open_door: OpenDoor, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    door = await open_door(tls=tls_settings(tmp_path, authority.issue("first")))
    async with channel_to(door, authority) as old:
        assert (await analyze(old)).code == "OK"
        assert await shown_by(door) == "first"

        authority.issue("second").write(tmp_path, "server")
        assert await shown_by(door) == "second"
        async with channel_to(door, authority) as new:
            assert (await analyze(new)).code == "OK"
        assert (await analyze(old)).code == "OK"

        (tmp_path / "server.pem").write_text("half a certif")
        assert await shown_by(door) == "second", "a broken file changes nothing"
        async with channel_to(door, authority) as new:
            assert (await analyze(new)).code == "OK"
        faults = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(faults) == 1
        assert "server.pem" in faults[0].getMessage()

        authority.issue("third").write(tmp_path, "server")
        assert await shown_by(door) == "third"
        assert (await analyze(old)).code == "OK"


async def test_the_authority_of_clients_can_be_replaced(
    open_door: OpenDoor, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    door = await open_door(tls=tls_settings(tmp_path, authority.issue("server"), authority))
    before, after = authority.issue("shop"), stranger.issue("shop")
    (tmp_path / "clients.pem").write_bytes(authority.certificate + stranger.certificate)
    for client in (before, after):
        async with channel_to(door, authority, client) as channel:
            assert (await analyze(channel)).code == "OK"
    (tmp_path / "clients.pem").write_bytes(stranger.certificate)
    for client, code in ((before, "UNAVAILABLE"), (after, "OK")):
        async with channel_to(door, authority, client) as channel:
            assert (await analyze(channel)).code == code


async def shown_by(door: FrontDoor) -> str:
    """Common name of the certificate that a new connection is shown."""
    address = ("127.0.0.1", int(door.address.rpartition(":")[2]))
    return common_name(await asyncio.to_thread(ssl.get_server_certificate, address, timeout=5))
