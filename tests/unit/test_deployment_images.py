"""The Dockerfiles are clean, and the images that they describe are hardened."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.docker_files import DOCKER, environment, load_settings, stage

HADOLINT = Path(sys.executable).with_name("hadolint")
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
# A final image and the file that it is a stage of.
IMAGES = [("front_door.Dockerfile", "cpu"), ("front_door.Dockerfile", "front-door"), ("triton.Dockerfile", "triton")]


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


@pytest.mark.parametrize("name", ["cpu", "front-door"])
def test_settings_of_the_image_can_be_replaced_by_a_file(name: str) -> None:
    """The environment goes before a file, so what the image set there a mounted file could not change."""
    text = stage("front_door.Dockerfile", name)
    assert [variable for variable in environment(text) if variable.startswith("REVIEWLENS_")] == []
    (source, target) = re.findall(r"^COPY \S+ (docker/front_door/\S+\.toml) (\S+)$", text, re.MULTILINE)[0]
    settings = load_settings(DOCKER.parent / source)
    assert bool(settings.triton_url) is (name == "front-door")
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)
    (health_check,) = re.findall(r"^HEALTHCHECK .*\\\n\s+CMD (.+)$", text, re.MULTILINE)
    assert json.loads(entrypoint)[-2:] == json.loads(health_check)[-2:] == ["--config", target]


@pytest.mark.parametrize("name", ["cpu", "front-door"])
def test_user_of_the_image_may_write_reports(name: str) -> None:
    """A new named volume has the owner of the folder that it is mounted on."""
    text = stage("front_door.Dockerfile", name)
    (user, group) = re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)[-1]
    assert f"RUN install --directory --owner={user} --group={group} /reports\n" in text


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


def test_flags_that_the_documentation_names_are_set() -> None:
    security = (DOCKER.parent / "docs" / "security.md").read_text(encoding="utf-8")
    _, table, _ = re.split(r"^\| flag \| why \|\n|\n\n(?=It listens)", security, flags=re.MULTILINE)
    named = set(re.findall(r"--[a-z][a-z-]+", table))
    start = (DOCKER / "triton" / "start.sh").read_text(encoding="utf-8")
    assert named
    assert named <= set(re.findall(r"^ +(--[a-z-]+)", start, re.MULTILINE))


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
