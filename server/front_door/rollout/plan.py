"""What is to be served: the rollout file, read, checked and written.

The file is TOML::

    [champion]
    model_repository = "model_repository"   # an empty triton_url, or none, starts the embedded Triton

    [challenger]
    triton_url = "triton-next:8001"
    model_repository = "model_repository_next"
    mode = "split"
    share = 0.1
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from client.artifact import Artifact
from client.errors import InvalidInputError
from client.served import ENSEMBLE, served_version
from client.whole_files import write_whole
from server.front_door.settings import OptionalAddress, Section

HEADER = (
    "# Versions that are served; docs/rollout.md explains. Edit it, or use `python -m server.front_door.rollout`.\n"
)


class Source(Section):
    """Where one version is: the Triton that serves it, and the repository that it is of.

    Without ``triton_url`` an embedded Triton is started. ``version`` is the repository's version folder; None follows
    the version that the repository's configuration pins.
    """

    triton_url: OptionalAddress = ""
    model_repository: Path
    version: Annotated[int, Field(strict=True, ge=1)] | None = None

    def pinned(self) -> Self:
        """The same with an absolute path and with the number of the version that is served now.

        Raises:
            ArtifactError: the repository has no version, or pins one that is not there.
        """
        repository = self.model_repository.resolve()
        version = served_version(repository) if self.version is None else self.version
        return self.model_copy(update={"model_repository": repository, "version": version})

    def source(self) -> Source:
        """Only where the version is, without what is done with it."""
        return Source(triton_url=self.triton_url, model_repository=self.model_repository, version=self.version)

    def artifact(self) -> Artifact:
        """The artifact of the version.

        Raises:
            ArtifactError: the repository has no such version, or its files do not agree with one another.
        """
        return Artifact.load(self.model_repository / ENSEMBLE / str(self.pinned().version))

    def __str__(self) -> str:
        version = "" if self.version is None else f" version {self.version}"
        return f"{self.model_repository}{version} on {self.triton_url or 'an embedded Triton'}"


class Challenger(Source):
    """A version beside the champion.

    ``split`` lets it answer a ``share`` of the calls; ``shadow`` has it analyze a ``share`` of them once more, after
    the champion has answered, and compares.
    """

    mode: Literal["split", "shadow"]
    share: Annotated[float, Field(strict=True, ge=0, le=1)]


class Plan(Section):
    """What is to be served. ``former`` is the champion before the last promotion: where a rollback goes."""

    champion: Source
    challenger: Challenger | None = None
    former: Source | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.challenger is not None and self.challenger.source() == self.champion:
            raise ValueError("challenger: it is the champion; name another Triton, repository or version")
        return self

    def pinned(self) -> Self:
        """The plan with its versions as numbers; what is ``former`` is not served, and left out.

        Raises:
            ArtifactError: see ``Source.pinned``.
        """
        challenger = self.challenger and self.challenger.pinned()
        return self.model_copy(update={"champion": self.champion.pinned(), "challenger": challenger, "former": None})


def read_plan(file: Path) -> Plan:
    """The plan of a rollout file. Relative paths in it begin at the file's folder.

    Raises:
        InvalidInputError: the file cannot be read, or what it says is unknown, missing or out of range.
    """
    try:
        tables = tomllib.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        raise InvalidInputError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInputError(f"{file}: not TOML in UTF-8: {error}") from None
    try:
        plan = checked_plan(tables)
    except InvalidInputError as error:
        raise InvalidInputError(f"{file}: {error}") from None
    folder = file.absolute().parent  # not of what a link leads to: in Kubernetes that changes
    sources = {name: source for name, source in plan if source is not None}
    return plan.model_copy(
        update={
            name: source.model_copy(update={"model_repository": folder / source.model_repository})
            for name, source in sources.items()
        }
    )


def checked_plan(tables: Mapping[str, Any]) -> Plan:
    """The plan that the tables of a rollout file say.

    Raises:
        InvalidInputError: something is unknown, missing or out of range; all of that is named.
    """
    try:
        return Plan.model_validate(tables)
    except ValidationError as error:
        raise InvalidInputError("; ".join(map(_problem, error.errors(include_url=False)))) from None


def _problem(error: Any) -> str:
    """One of pydantic's errors."""
    name = ".".join(map(str, error["loc"]))
    value = "" if error["type"] == "missing" or isinstance(error["input"], dict) else f"{error['input']!r}: "
    return f"{name}: {value}{error['msg'].removeprefix('Value error, ')}".removeprefix(": ")


def write_plan(file: Path, plan: Plan) -> None:
    """Write a rollout file so that readers see the old one or the new one, whole.

    Raises:
        InvalidInputError: it cannot be written; the old one stays.
    """
    write_whole(file, as_toml(plan))


def as_toml(plan: Plan) -> str:
    """The text of a rollout file."""
    tables = [
        "\n".join([f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in source if value is not None)])
        for name, source in plan
        if source is not None
    ]
    return HEADER + "\n" + "\n\n".join(tables) + "\n"


def _toml(value: float | str | Path) -> str:
    if isinstance(value, int | float):
        return str(value)
    # A TOML basic string has JSON's escapes; this one character is the exception that matters not even in paths.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")
