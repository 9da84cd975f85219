"""Files that readers see whole: the old one or the new one."""

from __future__ import annotations

import os
from pathlib import Path

from client.errors import InvalidInputError


def write_whole(path: Path, text: str, encoding: str = "utf-8") -> None:
    """Write a file so that, whatever happens, it is the old one or the new one.

    Raises:
        InvalidInputError: it cannot be written, as on a full disk; the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding=encoding, newline="") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InvalidInputError(f"{path}: cannot be written: {error.strerror}; what was there is as it was") from error
