"""Reads what lies in docker/, as several tests need it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from server.front_door.configuration import SettingsFlags
from server.front_door.settings import Settings

DOCKER = Path(__file__).parents[2] / "docker"


def stage(file: str, name: str) -> str:
    """The instructions of a stage and of those that it is made from, in the file."""
    stages = re.split(r"^FROM ", (DOCKER / file).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    by_name = {match[2]: (match[1], text) for text in stages if (match := re.match(r"(\S+) AS (\S+)\n", text))}
    parent, text = by_name[name]
    return (stage(file, parent) if parent in by_name else "") + text


def environment(instructions: str) -> dict[str, str]:
    """What the ENV instructions set."""
    lines = re.findall(r"^ENV (.+)$", re.sub(r"\\\n\s*", "", instructions), re.MULTILINE)
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


def load_settings(file: Path, variables: Mapping[str, str] | None = None) -> Settings:
    """The front door's settings of a file below environment variables, as the server reads them."""
    parser = argparse.ArgumentParser()
    flags = SettingsFlags(parser)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (variables or {}).items():
            patch.setenv(name, value)
        return flags.load(parser.parse_args([]), file)
