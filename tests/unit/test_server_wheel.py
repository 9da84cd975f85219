"""What the launcher says when something that the embedded Triton needs is not there."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from client.errors import EmbeddedTritonError
from server.wheel import TritonWheel

ROOT = Path(__file__).parents[2]


def test_every_part_of_the_installed_wheel_is_a_file() -> None:
    wheel = TritonWheel.find()
    for path in (wheel.binary, *wheel.backend_files.values()):
        assert path.is_file()
    assert os.access(wheel.binary, os.X_OK)
    assert os.access(wheel.backend_files["python/triton_python_backend_stub"], os.X_OK)
    assert all(folder.is_dir() for folder in (*wheel.library_path, *wheel.python_path))


def test_a_python_without_the_wheel_says_how_to_install_it() -> None:
    lookup = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from server.wheel import TritonWheel; TritonWheel.find()"
    result = subprocess.run([sys.executable, "-S", "-c", lookup], capture_output=True, text=True, check=False)
    assert "EmbeddedTritonError: pytriton is not installed" in result.stderr
    assert 'pip install -e ".[embedded]"' in result.stderr
    assert "--url HOST:PORT" in result.stderr


def test_another_platform_is_pointed_to_a_running_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(EmbeddedTritonError, match=r"runs on Linux x86_64, this is \w+ arm64: use --url HOST:PORT"):
        TritonWheel.find()


def test_environment_is_triton_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = TritonWheel.find()
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/cuda/lib64")
    monkeypatch.setenv("REVIEWLENS_THREADS", "7")
    env = wheel.environment(None)
    assert "PYTHONWARNINGS" not in env
    assert "REVIEWLENS_THREADS" not in env
    assert env["PYTHONPATH"].split(":") == [str(folder) for folder in wheel.python_path]
    assert env["LD_LIBRARY_PATH"].split(":") == [*(str(folder) for folder in wheel.library_path), "/opt/cuda/lib64"]
    assert env["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert env["ORT_DISABLE_TELEMETRY"] == "1"
    assert wheel.environment(2)["REVIEWLENS_THREADS"] == "2"
