"""The committed code of the protos is what the protos say, and the protos keep to the style that callers know."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BUF = Path(sysconfig.get_path("scripts")) / "buf"


def test_generated_code_is_current() -> None:
    check = subprocess.run(
        [sys.executable, str(ROOT / "proto" / "generate.py"), "--check"], capture_output=True, text=True
    )
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize("arguments", [("lint",), ("format", "--diff", "--exit-code")])
def test_protos_keep_to_the_style(arguments: tuple[str, ...]) -> None:
    check = subprocess.run([str(BUF), *arguments], cwd=ROOT / "proto", capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr
