"""The Go and Java examples are formatted and can be parsed. Building them takes modules from the network."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.functional.command_line import ROOT

GO = Path(sysconfig.get_path("scripts")) / "go"


def test_go_example_is_formatted_go() -> None:
    root = subprocess.run([str(GO), "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip()
    gofmt = [str(Path(root) / "bin" / "gofmt"), "-d", str(ROOT / "examples" / "go")]
    check = subprocess.run(gofmt, capture_output=True, text=True)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")


@pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK on this machine")
def test_java_example_can_be_parsed(tmp_path: Path) -> None:
    sources = sorted(map(str, (ROOT / "examples" / "java").rglob("*.java")))
    assert sources
    check = subprocess.run(
        ["javac", "--release", "17", "--should-stop=ifNoError=PARSE", "-d", str(tmp_path), *sources],  # noqa: S607
        capture_output=True,
        text=True,
    )
    assert check.returncode == 0, check.stderr
