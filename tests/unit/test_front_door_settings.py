"""Settings: precedence, unknown names, bounds, and the documented table."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from client.errors import InvalidInputError
from server.front_door.configuration import SettingsFlags, as_toml, settings_table, with_table
from server.front_door.server import FrontDoor
from server.front_door.settings import Auth, Limits, Settings

ROOT = Path(__file__).resolve().parents[2]


def load(*arguments: str, file: Path | None = None) -> Settings:
    parser = argparse.ArgumentParser(exit_on_error=False)
    flags = SettingsFlags(parser)
    return flags.load(parser.parse_args(arguments), file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "reviewlens.toml"
    path.write_text('triton_url = "triton:8001"\n[limits]\nmax_reviews = 1\nmax_characters = 11\n', encoding="utf-8")
    return path


def test_flags_go_before_environment_before_file_before_defaults(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVIEWLENS_LIMITS__MAX_REVIEWS", "2")
    monkeypatch.setenv("REVIEWLENS_LIMITS__MAX_STREAM_REVIEWS", "22")
    settings = load("--limits.max-reviews", "3", "--no-reflection", file=file)
    assert settings.limits.max_reviews == 3
    assert settings.limits.max_stream_reviews == 22
    assert settings.limits.max_characters == 11
    assert settings.limits.max_message_bytes == Limits().max_message_bytes
    assert settings.triton_url == "triton:8001"
    assert settings.reflection is False


@pytest.mark.parametrize("variable", ["REVIEWLENS_LIMTS__MAX_REVIEWS", "REVIEWLENS_LIMITS__MAX_REVIEW"])
def test_unknown_variable_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "2")
    with pytest.raises(InvalidInputError, match=r"(?i)limi?ts(__|\.)max_review.*no such setting.*did you mean"):
        load()


def test_what_the_launcher_tells_its_backend_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVIEWLENS_THREADS", "2")
    with pytest.raises(
        InvalidInputError, match=r"REVIEWLENS_THREADS: .*; set --embedded-threads, REVIEWLENS_EMBEDDED_TH"
    ):
        load()


@pytest.mark.parametrize("setting", ["limits.max-message-bytes", "limits.max-calls-per-client"])
async def test_what_grpc_is_given_twice_has_room_in_its_32_bits(setting: str) -> None:
    most = 2**30 - 1
    elsewhere = ("--listen", "127.0.0.1:0", "--metrics.listen", "", "--triton-url", "127.0.0.1:9")
    door = FrontDoor(load(f"--{setting}", str(most), *elsewhere))
    await door.start()
    await door.drain(0)
    with pytest.raises(InvalidInputError, match=f"{setting.replace('-', '_')}: '{most + 1}': .*less than or equal"):
        load(f"--{setting}", str(most + 1))


def test_variables_of_kubernetes_services_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SERVICE_HOST", "SERVICE_PORT_GRPC", "PORT", "PORT_8500_TCP", "METRICS_PORT_9500_TCP_ADDR"):
        monkeypatch.setenv(f"REVIEWLENS_{variable}", "tcp://10.0.0.1:8500")
    assert load() == Settings()


def test_every_wrong_setting_of_a_file_is_named(file: Path) -> None:
    file.write_text("[limits]\nmax_revews = 2\n[tls]\nreload_s = 0\n[foo]\nbar = 1\n", encoding="utf-8")
    with pytest.raises(InvalidInputError) as failure:
        load(file=file)
    assert "limits.max_revews: no such setting; did you mean limits.max_reviews?" in str(failure.value)
    assert "tls.reload_s: 0: Input should be greater than 0" in str(failure.value)
    assert "foo: no such setting" in str(failure.value)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--listen", "8500"], "listen: '8500'"),
        (["--listen", "a:99999"], "listen: 'a:99999'"),
        (["--limits.max-reviews", "0"], "limits.max_reviews: '0'.*--limits.max-reviews, REVIEWLENS_LIMITS__MAX_REV"),
        (["--limits.default-deadline-s", "inf"], "limits.default_deadline_s: 'inf'"),
        (["--limits.default-deadline-s", "500"], "default_deadline_s: 500 is more than max_deadline_s, 120"),
        (["--tls.certificate-file", "a"], "tls: certificate_file and key_file go together"),
        (["--tls.client-ca-file", "a"], "tls: client_ca_file"),
        (["--auth.tokens", "secret"], "--auth.tokens: other users of the machine can read flags"),
    ],
)
def test_wrong_values_are_errors_with_the_way_out(arguments: list[str], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        load(*arguments)


@pytest.mark.parametrize("content", [b"[limits", b"\xff\xfe", None])
def test_unreadable_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=f"--config {path}: (cannot be read|not TOML)"):
        load(file=path)


def test_secrets_are_hidden_and_the_rest_can_be_read_back(tmp_path: Path) -> None:
    settings = Settings(limits=Limits(max_reviews=7), auth=Auth.model_validate({"tokens": "shop sha256:00"}))
    shown = as_toml(settings)
    assert "sha256" not in shown
    path = tmp_path / "shown.toml"
    path.write_text(shown, encoding="utf-8")
    assert load(file=path).limits == settings.limits


def test_documented_table_is_current() -> None:
    document = ROOT / "docs" / "configuration.md"
    text = document.read_text(encoding="utf-8")
    assert with_table(text, str(document)) == text, "run python -m server.front_door --write-config-table " + str(
        document
    )
    assert settings_table().count("\n| `") > 30
