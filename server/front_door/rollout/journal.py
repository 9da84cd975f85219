"""The comparisons of a server, kept in a JSON file over restarts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from client.errors import InvalidInputError
from server.front_door.rollout.comparison import Comparison

# The last pairs of versions; older ones leave the file.
PAIRS_KEPT = 20


def now() -> str:
    """The time in UTC as reports have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Journal:
    """Comparisons by pair of versions, the latest last."""

    def __init__(self, comparisons: list[Comparison] | None = None) -> None:
        """Goes on with these."""
        self.comparisons = comparisons or []

    def of(self, champion: str, challenger: str) -> Comparison:
        """The comparison of two model versions, begun now if there is none; it becomes the latest."""
        for comparison in self.comparisons:
            if (comparison.champion, comparison.challenger) == (champion, challenger):
                self.comparisons.remove(comparison)
                break
        else:
            comparison = Comparison(champion, challenger, since=now())
        self.comparisons = [*self.comparisons, comparison][-PAIRS_KEPT:]
        comparison.until = now()
        return comparison

    def to_json(self) -> str:
        """The text of the file."""
        comparisons = [comparison.to_dict() for comparison in self.comparisons]
        return json.dumps({"comparisons": comparisons}, ensure_ascii=False, indent=1) + "\n"


def read_journal(file: Path) -> Journal:
    """The comparisons in a report file.

    Raises:
        InvalidInputError: it cannot be read, or is no such file.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return Journal([Comparison.from_dict(comparison) for comparison in values["comparisons"]])
    except OSError as error:
        raise InvalidInputError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(f"{file}: no comparison of two versions: {error!r}; name another file") from None
