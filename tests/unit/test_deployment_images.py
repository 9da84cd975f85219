"""The Dockerfiles are clean, and the images that they describe are hardened."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCKER = Path(__file__).parents[2] / "docker"
HADOLINT = Path(sys.executable).with_name("hadolint")
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
# A final image and the file that it is a stage of.
IMAGES = [("front_door.Dockerfile", "cpu"), ("front_door.Dockerfile", "front-door"), ("triton.Dockerfile", "triton")]


def stage(file: str, name: str) -> str:
    """The instructions of a stage and of those that it is made from, in the file."""
    stages = re.split(r"^FROM ", (DOCKER / file).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    by_name = {match[2]: (match[1], text) for text in stages if (match := re.match(r"(\S+) AS (\S+)\n", text))}
    parent, text = by_name[name]
    return (stage(file, parent) if parent in by_name else "") + text


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfile_has_no_findings(dockerfile: Path) -> None:
    result = subprocess.run([HADOLINT, dockerfile], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_base_images_are_arguments_with_a_version(dockerfile: Path) -> None:
    text = dockerfile.read_text(encoding="utf-8")
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    arguments = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)", text, re.MULTILINE))
    assert bases - stages - {"scratch"} == {f"${{{name}}}" for name in arguments}
    for image in arguments.values():
        assert re.fullmatch(r"[\w.-]+\.\w+/[\w./-]+:\d[\w.-]+(@sha256:[0-9a-f]{64})?", image), image


@pytest.mark.parametrize(("file", "name"), IMAGES)
def test_image_runs_as_a_numbered_user_with_health_check_and_labels(file: str, name: str) -> None:
    text = stage(file, name)
    users = re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)
    assert users, "no USER with numbers: Kubernetes could not check that it is not root"
    assert "0" not in users[-1]
    assert len(re.findall(r"^HEALTHCHECK ", text, re.MULTILINE)) == 1
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in text
    assert "PYTHONUNBUFFERED=1" in text


def test_front_door_image_gets_no_weights() -> None:
    text = stage("front_door.Dockerfile", "front-door")
    assert re.findall(r"^COPY --from=models (\S+)", text, re.MULTILINE) == ["/review_analysis"]


def test_triton_is_not_older_than_the_documentation_wants() -> None:
    image = r"nvcr\.io/nvidia/tritonserver:(\d\d\.\d\d)-py3"
    ours = re.search(f"^ARG TRITON_IMAGE={image}", (DOCKER / "triton.Dockerfile").read_text(), re.MULTILINE)
    security = (DOCKER.parent / "docs" / "security.md").read_text(encoding="utf-8")
    lowest = re.search(rf"The lowest image that we recommend is \*\*`{image}`", security)
    assert ours is not None
    assert lowest is not None
    assert ours[1] >= lowest[1]


def test_builder_gets_no_secrets() -> None:
    rules = (DOCKER.parent / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*", "everything is left out but what the list names"
    assert not [rule for rule in rules if "secrets" in rule or rule == "!docker"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_builder_gets_what_is_copied(dockerfile: Path) -> None:
    rules = (DOCKER.parent / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    for words in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+)$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE):
        *sources, _ = words.split()
        assert set(sources) <= sent
        assert all((DOCKER.parent / source).exists() for source in sources)
