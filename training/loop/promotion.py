"""Promotion and rollback of a model repository, with a history that says what was served when, and why.

The history is ``promotions.jsonl`` in the repository. A change is written there before the configurations are, so that
every version that was ever served through these commands has its entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from client.errors import ArtifactError, InvalidInputError
from client.served import served_version
from export.versions import add_version, graphs_hash, is_settled, model_version, serve_version, whole_versions
from training.loop.files import locked, read_rows, write_rows

HISTORY_FILE = "promotions.jsonl"


@dataclass(frozen=True)
class Change:
    """One change of the version that is served; ``time`` is UTC."""

    time: str
    action: Literal["promote", "rollback"]
    before: int
    after: int
    model_version: str
    why: str


def promote(challenger: Path, repository: Path, why: str, *, champion: str | None = None) -> Change:
    """Make the version that ``challenger`` serves the next version of ``repository``, and serve it.

    Interrupted at any point, the repository serves one whole version, and the same call goes on.

    Args:
        champion: the model version that the challenger was compared with, where it was.

    Raises:
        ArtifactError: a repository is broken, label sets differ, or another champion is served meanwhile.
        InvalidInputError: a file cannot be written, or another process changes the repository.
    """
    with _changing(repository):
        current = served_version(repository)
        served = model_version(repository, current)
        new = model_version(challenger, served_version(challenger))
        # An interrupted promotion may have come as far as serving the challenger.
        if champion not in (None, served) and graphs_hash(served) != graphs_hash(new):
            raise ArtifactError(
                f"{repository}: {served} is served, and the challenger was compared with {champion}; compare again"
            )
        return _serve(repository, "promote", current, add_version(challenger, repository), why)


def rollback(repository: Path, why: str, *, to: int | None = None) -> Change:
    """Serve the version before the present one again, or version ``to``; no file of any version is removed.

    The version before is what was served when the present one was promoted, or, where no history tells it, the highest
    number below. After an interrupted rollback, the same call finishes that one.

    Raises:
        ArtifactError: there is no such version, or the repository is broken.
        InvalidInputError: a file cannot be written, or another process changes the repository.
    """
    with _changing(repository):
        current, settled = served_version(repository), is_settled(repository)
        last = history(repository)[-1:]
        if to is None and not settled and [(c.action, c.after) for c in last] == [("rollback", current)]:
            to = current
        target = _previous(repository, current) if to is None else to
        if target == current and settled:
            raise ArtifactError(f"{repository}: version {current} is served already")
        return _serve(repository, "rollback", current, target, why)


def history(repository: Path) -> list[Change]:
    """The changes so far, oldest first.

    Raises:
        InvalidInputError: the history cannot be read.
    """
    path = repository / HISTORY_FILE
    if not path.is_file():
        return []
    try:
        return [Change(**row) for row in read_rows(path)]
    except TypeError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error}; remove the line") from None


def _previous(repository: Path, current: int) -> int:
    there = set(whole_versions(repository))
    told = [c.before for c in history(repository) if c.action == "promote" and c.after == current and c.before in there]
    below = [version for version in there if version < current]
    if not told and not below:
        raise ArtifactError(f"{repository}: no version before {current}; choose one with --to ({sorted(there)})")
    return told[-1] if told else max(below)


def _serve(repository: Path, action: Literal["promote", "rollback"], current: int, version: int, why: str) -> Change:
    if version not in whole_versions(repository):
        raise ArtifactError(f"{repository}: no whole version {version}; there is {whole_versions(repository)}")
    changes = history(repository)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    change = Change(now, action, current, version, model_version(repository, version), why)
    interrupted = changes and (changes[-1].action, changes[-1].before, changes[-1].after) == (action, current, version)
    if version != current and not interrupted:
        write_rows(repository / HISTORY_FILE, map(asdict, [*changes, change]))
    # Also where the version is served already: an interrupted change may have left the classifiers with both.
    serve_version(repository, version)
    return change


@contextmanager
def _changing(repository: Path) -> Iterator[None]:
    if not repository.is_dir():
        raise InvalidInputError(f"{repository}: no such model repository; export a model there first")
    with locked(repository):
        yield
