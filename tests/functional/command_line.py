"""The command line, as a user starts it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
ANALYZE = ROOT / "client" / "analyze.py"


def command(*arguments: str | Path) -> list[str]:
    """The words of the command; a warning anywhere in it is an error."""
    return [sys.executable, "-W", "error", str(ANALYZE), *map(str, arguments)]


def json_lines(output: str) -> list[dict[str, Any]]:
    """The objects of ``--format jsonl``."""
    return [json.loads(line) for line in output.split("\n") if line]


def marked_processes(mark: str) -> list[str]:
    """The commands of living processes with a mark in their environment: a program and all that it started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " "))
        except OSError:
            continue  # it ended meanwhile, or is another user's
    return found


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    """Return when a condition holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
