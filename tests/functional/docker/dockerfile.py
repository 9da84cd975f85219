"""Carries out a Dockerfile in a folder, for want of a container engine.

All stages share one folder, which stands for `/`: so paths that a stage wrote down, as a virtual environment does, stay
right for the stages that copy from it. Each stage is carried out once. What the machine's Python, pip and shell have in
place of the base image's is not looked at: the test shows that the instructions work, not the base image.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

Instruction = tuple[str, str]


@dataclass
class Stage:
    """A stage, or a finished image: what its containers run."""

    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health_check: list[str] = field(default_factory=list)


class Builder:
    """Builds the images of a Dockerfile below ``root``.

    ``contexts`` replace stages of their names by folders, as ``docker build --build-context`` does.
    """

    def __init__(self, dockerfile: Path, context: Path, root: Path, contexts: Mapping[str, Path]) -> None:
        self.root = root
        self._context = context
        self._contexts = contexts
        self._stages: dict[str, tuple[str, list[Instruction]]] = {}
        self._done: dict[str, Stage] = {}
        name = ""
        for keyword, rest in instructions(dockerfile.read_text(encoding="utf-8")):
            if keyword == "FROM":
                parent, _, name = rest.split()
                self._stages[name] = (parent, [])
            elif name:
                self._stages[name][1].append((keyword, rest))

    def build(self, name: str) -> Stage:
        """Carry out a stage with all that it needs; a base image that is no stage is an empty one."""
        if name not in self._stages:
            return Stage()
        if name not in self._done:
            parent, steps = self._stages[name]
            base = self.build(parent)
            stage = Stage(dict(base.environment), base.folder, base.entrypoint, base.command, base.health_check)
            for keyword, rest in steps:
                self._carry_out(stage, keyword, rest)
            self._done[name] = stage
        return self._done[name]

    def run(self, stage: Stage, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the entrypoint of an image to its end; the environment's paths are of this machine."""
        return subprocess.run(
            [*stage.entrypoint, *stage.command, *arguments],
            env=self.environment(stage) | environment,
            cwd=self.path(stage.folder),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, stage: Stage, log: Path, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start the entrypoint of an image; its output goes to ``log``."""
        with log.open("wb") as output:
            return subprocess.Popen(
                [*stage.entrypoint, *stage.command, *arguments],
                env=self.environment(stage) | environment,
                cwd=self.path(stage.folder),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def check_health(self, stage: Stage, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the health check of an image once."""
        return self.run(Stage(stage.environment, stage.folder, stage.health_check), **environment)

    def environment(self, stage: Stage) -> dict[str, str]:
        """What a container of the image has in its environment, and nothing of ours but the way to the index."""
        ours = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "SSL_")) or "proxy" in name}
        path = f"{Path(sys.executable).parent}:{os.defpath}"
        values = {name: self._map(value.replace("$PATH", path)) for name, value in stage.environment.items()}
        return {"PATH": path, "LANG": "C.UTF-8"} | ours | values

    def path(self, inside: str) -> Path:
        """Where a path of the container lies on this machine."""
        return self.root / PurePosixPath(inside).relative_to("/")

    def _map(self, text: str) -> str:
        """Put ``root`` before the container's absolute paths in a command, a value or a file of settings."""
        return re.sub(
            r"(?<![\w./])/(?=(src|wheels|opt/reviewlens|etc/reviewlens|constraints\.txt|models|reports|tmp)\b)",
            f"{self.root}/",
            text,
        )

    def _carry_out(self, stage: Stage, keyword: str, rest: str) -> None:
        match keyword:
            case "ENV":
                # Without the cache of this machine each build would download everything anew.
                values = dict(pair.split("=", 1) for pair in rest.split())
                stage.environment |= {name: value for name, value in values.items() if name != "PIP_NO_CACHE_DIR"}
            case "WORKDIR":
                stage.folder = rest
                self.path(rest).mkdir(parents=True, exist_ok=True)
            case "COPY":
                self._copy(stage, rest.split())
            case "RUN":
                # Only root may give files away, which the tests need not be.
                command = ["sh", "-e", "-c", re.sub(r" --(owner|group)=\d+", "", self._map(rest))]
                subprocess.run(command, cwd=self.path(stage.folder), env=self.environment(stage), check=True)
            case "ENTRYPOINT":
                stage.entrypoint = json.loads(self._map(rest))
            case "CMD":
                stage.command = json.loads(rest)
            case "HEALTHCHECK":
                stage.health_check = json.loads(self._map(rest.partition("CMD")[2]))
            case "USER" | "ARG" | "LABEL" | "EXPOSE" | "STOPSIGNAL":
                pass
            case _:
                raise NotImplementedError(f"{keyword} {rest}")

    def _copy(self, stage: Stage, words: list[str]) -> None:
        origin = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), "")
        *sources, target = [word for word in words if not word.startswith("--")]
        to = self.path(str(PurePosixPath(stage.folder) / target))
        for source in sources:
            if origin and origin not in self._contexts:
                self.build(origin)
                assert source == target, "stages share a folder"
                assert self.path(source).exists(), f"{origin} has no {source}"
                continue
            found = (self._contexts[origin] if origin else self._context) / source.lstrip("/")
            if found.is_dir():
                shutil.copytree(found, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                to.parent.mkdir(parents=True, exist_ok=True)
                copy = Path(shutil.copy(found, to / found.name if target.endswith("/") else to))
                if target.startswith("/etc/"):
                    copy.write_text(self._map(copy.read_text(encoding="utf-8")), encoding="utf-8")


def instructions(text: str) -> list[Instruction]:
    """Keyword and rest of each instruction, comments left out and continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (keyword, rest) for keyword, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]
