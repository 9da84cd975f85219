"""Files that are whole or not there, and folders that one process changes at a time."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from client.errors import InvalidInputError
from client.whole_files import write_whole

LOCK_FILE = ".lock"


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        InvalidInputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"{folder}: the folder cannot be made: {error.strerror}; give another one") from error


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines, whole or not at all; raises as ``write_whole``."""
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines.

    Raises:
        InvalidInputError: the file is missing or broken.
    """
    try:
        # Not splitlines(): texts may hold other characters that it takes for the end of a line.
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path}: cannot be read: {error}") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it goes with the process, however that ends.

    Raises:
        InvalidInputError: another process holds it, or the folder cannot be written.
    """
    try:
        lock = (folder / LOCK_FILE).open("w")
    except OSError as error:
        raise InvalidInputError(f"{folder}: cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidInputError(f"{folder}: another process works on it; wait until it has ended") from None
        yield
