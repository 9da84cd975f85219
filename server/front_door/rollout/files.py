"""Files that readers see whole."""

from __future__ import annotations

import os
from pathlib import Path

from client.errors import InvalidInputError


def write_whole(file: Path, text: str) -> None:
    """Write a file so that readers see the old one or the new one, whole.

    Raises:
        InvalidInputError: it cannot be written; the old one stays.
    """
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InvalidInputError(f"{file}: cannot be written: {error.strerror}; what was there is as it was") from None
