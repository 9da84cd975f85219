"""Reading Triton's log: what a model, the configuration or a port said when the server did not start."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_LINE = re.compile(r'^[EW]\d{4} \S+ \d+ (?P<source>\w+\.cc):\d+\] (?P<text>".*")$')
_SOURCES = ("model_lifecycle.cc", "model_repository_manager.cc", "main.cc")
_PLAIN = re.compile(r"^(?:\[libprotobuf ERROR [^\]]*\]|error: creating server:|supervisor:) *(?P<text>.*)$")
_TRACEBACK = re.compile(r"\n\nAt:\n.*", re.DOTALL)
_PORT = re.compile(r"Socket '[^']*' already in use|failed to start .* service: .*already in use", re.IGNORECASE)
_FATAL = re.compile(r"^error: creating server:|main\.cc:\d+\] \"failed to start ")
_TABLE = re.compile(r"^(?:[|+].*)?$|server\.cc:\d+\] $")
_GENERIC = ("failed to load all models", "has no loaded version")


def startup_errors(lines: Iterable[str]) -> list[str]:
    """The errors that kept a server from starting, most specific first, each once.

    Python tracebacks of the stand-in backend are cut: its messages name the field themselves. Consequences (an
    ensemble without its models) are left out when a cause is known.
    """
    found: dict[str, None] = {}
    for line in lines:
        if match := _LINE.match(line.rstrip()):
            if match["source"] in _SOURCES:
                found[_TRACEBACK.sub("", json.loads(match["text"], strict=False)).strip()] = None
        elif match := _PLAIN.match(line.rstrip()):
            found[match["text"]] = None
    causes = [error for error in found if not any(generic in error for generic in _GENERIC)]
    return causes or list(found)


def is_fatal(line: str) -> bool:
    """Whether the server ends after this line; taking its loaded models down costs it another second."""
    return _FATAL.search(line) is not None


def without_tables(lines: Iterable[str]) -> list[str]:
    """The log less the tables of backends, models and options, and their headings."""
    return [line for line in lines if not _TABLE.search(line)]


def port_in_use(lines: Iterable[str]) -> bool:
    """Whether the server found its gRPC or metrics port taken."""
    return any(_PORT.search(line) for line in lines)
