"""Tokens, certificate files and the rule about plain text."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from client.errors import InvalidInputError
from server.front_door import certificates, tokens
from server.front_door.certificates import CertificateFiles, server_credentials
from server.front_door.security import check_listen, main, token_authenticator
from server.front_door.settings import Auth, Settings, Tls
from server.front_door.tokens import TokenFile, new_token, parse_tokens
from tests.functional.security.authority import Authority

SECRET = "rl_this-is-a-token-and-must-never-be-shown"  # noqa: S105


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("shops")


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(certificates, "time", clock)
    monkeypatch.setattr(tokens, "time", clock)
    return clock


def test_a_new_token_is_let_in_by_its_line() -> None:
    token, line = new_token("shop")
    (parsed,) = parse_tokens(f"# clients\n\n{line}  # made today\n", "tokens")
    assert parsed.name == "shop"
    assert tokens.name_of(token, (parsed,)) == "shop"
    assert tokens.name_of(token + "x", (parsed,)) is None
    assert token not in line
    assert len({new_token("shop")[0] for _ in range(50)}) == 50


def test_a_client_may_have_two_tokens_while_one_replaces_another() -> None:
    (first, first_line), (second, second_line) = new_token("shop"), new_token("shop")
    both = parse_tokens(f"{first_line},{second_line}", "auth.tokens")
    assert tokens.name_of(first, both) == tokens.name_of(second, both) == "shop"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SECRET, "line 1: not `NAME sha256:HEX`"),
        (f"shop {SECRET}", "line 1: not `NAME sha256:HEX`"),
        (f"\nshop sha256:{SECRET}", "line 2: not `NAME sha256:HEX`"),
        (f"shop sha256:{'a' * 63}", "line 1: not `NAME sha256:HEX`"),
        (f"{'n' * 65} sha256:{'a' * 64}", "line 1: not `NAME sha256:HEX`"),
        (f"a sha256:{'a' * 64}\nb sha256:{'A' * 64}", "line 2: b: the same token again"),
        ("# nothing\n", "no tokens, so nobody could call"),
        ("", "no tokens, so nobody could call"),
    ],
)
def test_wrong_lines_are_named_and_never_shown(text: str, problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_tokens(text, "tokens.txt")
    assert f"tokens.txt: {problem}" in str(caught.value)
    assert "new-token NAME" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "a" * 63 not in str(caught.value)


def test_a_file_of_tokens_is_read_again_when_it_changes(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (old, old_line), (new, new_line) = new_token("old"), new_token("new")
    target = tmp_path / "first"
    target.write_text(old_line)
    link = tmp_path / "tokens"
    link.symlink_to(target)
    file = TokenFile(link)
    assert tokens.name_of(old, file.tokens()) == "old"

    # As Kubernetes does it: the link points somewhere else from one moment to the next.
    other = tmp_path / "second"
    other.write_text(new_line)
    (tmp_path / "swap").symlink_to(other)
    os.replace(tmp_path / "swap", link)  # noqa: PTH105
    assert tokens.name_of(old, file.tokens()) == "old", "it is not looked at for every call"
    clock.now += tokens.LOOK_EVERY_S
    assert tokens.name_of(old, file.tokens()) is None
    assert tokens.name_of(new, file.tokens()) == "new"

    for broken in (f"new {SECRET}", None):
        caplog.clear()
        if broken is None:
            other.unlink()
        else:
            other.write_text(broken)
        for _ in range(3):
            clock.now += tokens.LOOK_EVERY_S
            assert tokens.name_of(new, file.tokens()) == "new", "the last good ones stay"
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert str(link) in record.getMessage()
        assert SECRET not in record.getMessage()


def test_a_file_that_could_not_be_read_is_tried_again(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions that are mended leave time, size and inode as they were."""
    caplog.set_level(logging.INFO)
    (old, old_line), (new, new_line) = new_token("old"), new_token("new")
    path = tmp_path / "tokens"
    path.write_text(old_line)
    file = TokenFile(path)

    path.write_text(f"{new_line}\n")

    def denied(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as forbidden:
        forbidden.setattr(Path, "read_text", denied)  # chmod would not keep root from reading
        for _ in range(3):
            clock.now += tokens.LOOK_EVERY_S
            assert tokens.name_of(old, file.tokens()) == "old"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "Permission denied" in caplog.text
    for _ in range(2):
        clock.now += tokens.LOOK_EVERY_S
        assert tokens.name_of(new, file.tokens()) == "new"
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "No such file or directory"), (b"\xff\xfe", "not UTF-8"), (b"", "no tokens")]
)
def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path, content: bytes | None, problem: str) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInputError, match=rf"auth.tokens_file .*{problem}"):
        token_authenticator(Auth(tokens_file=file))


def test_tokens_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    line = new_token("shop")[1]
    file = tmp_path / "tokens"
    file.write_text(line)
    assert token_authenticator(Auth()) is None
    assert token_authenticator(Auth(tokens_file=file)) is not None
    assert token_authenticator(Auth(tokens=SecretStr(line))) is not None
    with pytest.raises(InvalidInputError, match="both are set"):
        token_authenticator(Auth(tokens=SecretStr(line), tokens_file=file))


def test_no_representation_shows_a_hash() -> None:
    line = new_token("shop")[1]
    digest = line.partition(":")[2]
    (token,) = parse_tokens(line, "auth.tokens")
    settings = Settings(auth=Auth(tokens=SecretStr(line)))
    for shown in (repr(token), repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert digest not in shown
        assert repr(token.digest) not in shown


def test_the_command_makes_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-token", "shop-1"]) == 0
    _, token, _, line = map(str.strip, capsys.readouterr().out.splitlines())
    assert tokens.name_of(token, parse_tokens(line, "line")) == "shop-1"
    assert main(["new-token", "two words"]) == 2
    assert "'two words'" in capsys.readouterr().err


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:8500", "[::1]:8500", "127.9.9.9:1"])
def test_plain_text_stays_on_this_machine(listen: str) -> None:
    check_listen(listen, Tls())


@pytest.mark.parametrize("listen", ["0.0.0.0:8500", "[::]:8500", "10.0.0.7:1", "localhost.example.org:1", "shop:1"])
def test_plain_text_to_other_machines_must_be_allowed(listen: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"listen: .*tls.certificate_file.*tls.allow_plaintext = true"):
        check_listen(listen, Tls())
    check_listen(listen, Tls(allow_plaintext=True))
    check_listen(listen, Tls(certificate_file=tmp_path / "c", key_file=tmp_path / "k"))


def test_certificate_files_that_cannot_be_used_are_named(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("server").write(tmp_path, "server")
    _, other_key = authority.issue("other").write(tmp_path, "other")
    garbage, missing = tmp_path / "garbage", tmp_path / "missing"
    garbage.write_text("no PEM")
    for files, problem in (
        ({"certificate_file": missing, "key_file": key}, "tls.certificate_file .*missing: cannot be read"),
        ({"certificate_file": certificate, "key_file": missing}, "tls.key_file .*missing: cannot be read"),
        ({"certificate_file": certificate, "key_file": other_key}, "key values mismatch"),
        ({"certificate_file": garbage, "key_file": key}, "give a PEM certificate chain"),
        ({"certificate_file": certificate, "key_file": key, "client_ca_file": garbage}, "tls.client_ca_file .*garbage"),
    ):
        with pytest.raises(InvalidInputError, match=problem):
            server_credentials(Tls.model_validate(files))
    assert server_credentials(Tls()) is None


def test_certificates_are_read_again_and_a_broken_one_is_not_used(
    tmp_path: Path, authority: Authority, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    certificate, key = authority.issue("first").write(tmp_path, "server")
    files = CertificateFiles(certificate, key, None, reload_s=60)

    clock.now += 60
    assert files.changed_configuration() is None, "nothing changed"
    second = authority.issue("second")
    second.write(tmp_path, "server")
    assert files.changed_configuration() is None, "it is not looked at for every connection"
    clock.now += 60
    assert files.changed_configuration() is not None
    assert "certificate reloaded" in caplog.text

    caplog.clear()
    certificate.write_bytes(authority.issue("third").certificate)  # its key is not there yet
    for _ in range(3):
        clock.now += 60
        assert files.changed_configuration() is None
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "key values mismatch" in record.getMessage()
    assert second.key.decode() not in repr(vars(files))
