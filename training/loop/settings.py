"""What a run of the loop is told, and the file that remembers it and how far the run has come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from client.errors import InvalidInputError
from client.whole_files import write_whole

STATE_FILE = "state.json"
DEFAULT_LABEL_SET = Path(__file__).resolve().parent.parent / "label_sets" / "fashion.json"


@dataclass(frozen=True)
class Settings:
    """A run's settings, written down when it begins; paths are absolute.

    ``train`` are ``FILE`` or ``FILE:N``, as ``training.finetune`` takes them, and ``held_out`` the files whose test
    split decides (the training files where there are none). ``quotas`` and ``checkpoint`` are those of
    ``training.selection``. ``labellers`` people share the reviews, of which ``overlap`` go to two. Training begins when
    ``enough`` of the reviews have labels that hold. ``training`` are options of ``training.finetune`` for both tasks,
    ``sentiment_training`` more for the sentiment task. ``precision``, ``max_loss`` and ``evaluation`` are those of
    ``export``. ``promote`` False leaves a better challenger to a person.
    """

    repository: str
    pool: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    label_set: str = str(DEFAULT_LABEL_SET)
    rules: str | None = None
    count: int = 500
    quotas: tuple[str, ...] = ()
    checkpoint: str | None = None
    labellers: int = 1
    overlap: float = 0.1
    enough: float = 0.9
    training: str = ""
    sentiment_training: str = ""
    precision: str | None = None
    max_loss: float = 0.05
    evaluation: str | None = None
    primary: str = "keyword micro F1"
    tolerance: float = 0.01
    resamples: int = 2000
    seed: int = 1
    promote: bool = True

    def __post_init__(self) -> None:
        for name, least, most in (("count", 1, None), ("labellers", 1, None), ("overlap", 0, 1), ("enough", 0, 1)):
            value = getattr(self, name)
            if value < least or (most is not None and value > most):
                raise InvalidInputError(
                    f"--{name} {value}: {least} or more{'' if most is None else f', {most} at most'}"
                )


@dataclass
class Run:
    """A run in its folder: settings, and the results of the steps that are finished, in their order.

    ``waiting`` is what the last call has found in a step that it could not finish. ``accept`` is of this call alone: go
    on with the labels that hold, however few.
    """

    folder: Path
    settings: Settings
    finished: dict[str, dict[str, Any]] = field(default_factory=dict)
    waiting: dict[str, Any] = field(default_factory=dict)
    accept: bool = False

    @classmethod
    def begin(cls, folder: Path, settings: Settings) -> Run:
        """Write down a new run.

        Raises:
            InvalidInputError: the folder cannot be written.
        """
        run = cls(folder, settings)
        run.save()
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Read a run.

        Raises:
            InvalidInputError: there is none in the folder, or it cannot be read.
        """
        path = folder / STATE_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            settings: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in values["settings"].items()
            }
            return cls(folder, Settings(**settings), values["finished"], values["waiting"])
        except FileNotFoundError:
            raise InvalidInputError(
                f"{folder}: no run of the loop; begin one with python -m training.loop run"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(f"{path}: cannot be read: {error!r}; begin another run") from None

    def require(self, given: Mapping[str, Any]) -> None:
        """Check that options given again are those that the run was begun with.

        Raises:
            InvalidInputError: names the option that differs.
        """
        for name, value in given.items():
            if (begun := getattr(self.settings, name)) != value:
                raise InvalidInputError(
                    f"--{name.replace('_', '-')} {value}: the run in {self.folder} was begun with {begun}; leave the "
                    "option out, or begin a run in another folder"
                )

    def finish(self, step: str, result: dict[str, Any], seconds: float) -> None:
        """Write down a step's result."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.finished[step] = {"finished": now, "seconds": round(seconds, 1), **result}
        self.waiting = {}
        self.save()

    def forget(self, steps: tuple[str, ...]) -> None:
        """Let steps be done again."""
        self.finished = {name: result for name, result in self.finished.items() if name not in steps}
        self.save()

    def save(self) -> None:
        """Write the state, whole or not at all."""
        values = {"settings": asdict(self.settings), "finished": self.finished, "waiting": self.waiting}
        write_whole(self.folder / STATE_FILE, json.dumps(values, ensure_ascii=False, indent=1) + "\n")
