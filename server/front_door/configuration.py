"""Settings from flags, the environment and a TOML file, in this order of precedence, and the table that lists them."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from client.errors import InvalidInputError
from server.front_door.settings import Settings
from server.wheel import THREADS_VARIABLE

PREFIX = "REVIEWLENS_"
# Kubernetes tells a pod about a service named reviewlens with variables such as REVIEWLENS_PORT_8500_TCP_ADDR.
_SERVICE_LINK = re.compile(rf"{PREFIX}(.+_)?(SERVICE_HOST|SERVICE_PORT.*|PORT|PORT_\d+_(TCP|UDP|SCTP).*)")
TABLE_BEGIN, TABLE_END = "<!-- settings: begin -->", "<!-- settings: end -->"
SECRETS = ("auth.tokens",)


class LayeredSettings(Settings, BaseSettings):
    """Settings with their sources."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
        extra="forbid",
        frozen=True,
    )


class SettingsFlags:
    """The settings as flags of an argument parser, one each, named as in the file: ``--limits.max-reviews 100``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._source = CliSettingsSource[argparse.ArgumentParser](
            LayeredSettings,
            root_parser=parser,
            cli_kebab_case=True,
            cli_avoid_json=True,
            cli_implicit_flags=True,
            cli_hide_none_type=True,
            cli_use_class_docs_for_groups=True,
        )

    def load(self, arguments: argparse.Namespace, file: Path | None) -> Settings:
        """The settings of parsed arguments, of this process's environment and of ``file``.

        Raises:
            InvalidInputError: the file cannot be read, or a setting is unknown or out of range; every such setting is
                named with its value and the places to set it.
        """
        _check_environment(os.environ)
        _check_file(file)
        flags = self._source(parsed_args=arguments)()
        for name in SECRETS:
            if _value_at(flags, tuple(name.split("."))) is not None:
                raise InvalidInputError(f"--{name}: other users of the machine can read flags; {_ways(name)}")

        command_line = self._source

        class Sources(LayeredSettings):
            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                dotenv_settings: PydanticBaseSettingsSource,
                file_secret_settings: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return command_line, env_settings, TomlConfigSettingsSource(settings_cls, file)

        try:
            layered = Sources()
            return Settings.model_validate(layered.model_dump())
        except ValidationError as error:
            raise InvalidInputError("\n".join(map(_problem, error.errors(include_url=False)))) from None


def _check_environment(environment: Mapping[str, str]) -> None:
    """pydantic-settings looks only for variables that it knows: a misspelt one would go unnoticed."""
    sections = {name.upper() for name in Settings.model_fields}
    for variable in environment:
        name = variable.upper()
        if not name.startswith(PREFIX) or _SERVICE_LINK.fullmatch(name):
            continue
        if name == THREADS_VARIABLE:
            raise InvalidInputError(
                f"{variable}: only the embedded Triton's models see it; {_ways('embedded_threads')}"
            )
        if name.removeprefix(PREFIX).split("__")[0] not in sections:
            known = [variable_of(setting) for setting, _ in fields_of(Settings)]
            raise InvalidInputError(f"{variable}: no such setting in the environment{_suggestion(name, known)}")


def _check_file(file: Path | None) -> None:
    if file is None:
        return
    try:
        tomllib.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        raise InvalidInputError(f"--config {file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInputError(f"--config {file}: not TOML in UTF-8: {error}") from None


def _problem(error: Any) -> str:
    """One line for one of pydantic's errors."""
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{name}: no such setting{_suggestion(name, [known for known, _ in fields_of(Settings)])}"
    message = error["msg"].removeprefix("Value error, ")
    if name in SECRETS or isinstance(error["input"], BaseModel | dict):
        return f"{name}: {message}"
    return f"{name}: {error['input']!r}: {message} ({_ways(name)})"


def _ways(name: str) -> str:
    flag = "" if name in SECRETS else f"{flag_of(name)}, "
    return f"set {flag}{variable_of(name)} or {name} in the --config file"


def _suggestion(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else "; docs/configuration.md has them all"


def _value_at(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for part in path:
        values = values.get(part) or {}
    return values or None


def flag_of(name: str) -> str:
    """The flag of a setting: ``limits.max_reviews`` is ``--limits.max-reviews``."""
    return f"--{name.replace('_', '-')}"


def variable_of(name: str) -> str:
    """The environment variable of a setting: ``limits.max_reviews`` is ``REVIEWLENS_LIMITS__MAX_REVIEWS``."""
    return PREFIX + name.replace(".", "__").upper()


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting's dotted name with its field, in the order of the model."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def settings_table() -> str:
    """The table of docs/configuration.md: every setting with its default and meaning."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    section = ""
    for name, field in fields_of(Settings):
        head = name.rpartition(".")[0]
        if head != section:
            section = head
            annotation = Settings.model_fields[head].annotation
            lines.append(f"| **{head}** | | {' '.join((annotation.__doc__ or '').split())} |")
        default = field.get_default()
        shown = "" if default is None or name in SECRETS or default == "" else f"`{_toml(default)}`"
        lines.append(f"| `{name}` | {shown} | {field.description} |")
    return "\n".join(lines) + "\n"


def write_table(document: Path) -> None:
    """Write ``settings_table`` between the two marks in a document.

    Raises:
        InvalidInputError: the document cannot be read or written, or has no marks.
    """
    try:
        document.write_text(with_table(document.read_text(encoding="utf-8"), str(document)), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"--write-config-table {document}: {error.strerror}") from None


def with_table(text: str, source: str) -> str:
    """A document's text with the current table between its marks; raises as ``write_table``."""
    before, begin, rest = text.partition(TABLE_BEGIN)
    _, end, after = rest.partition(TABLE_END)
    if not begin or not end:
        raise InvalidInputError(f"--write-config-table {source}: no {TABLE_BEGIN} … {TABLE_END} in it; add both lines")
    return f"{before}{begin}\n{settings_table()}{end}{after}"


def as_toml(settings: Settings) -> str:
    """The settings as a configuration file, secrets hidden."""
    top: list[str] = []
    sections: list[str] = []
    for name, field in settings:
        if isinstance(field, BaseModel):
            sections += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in field if value is not None)]
        else:
            top.append(f"{name} = {_toml(field)}")
    return "\n".join([*top, *sections]) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:_}" if isinstance(value, int) and value >= 100_000 else f"{value}"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
