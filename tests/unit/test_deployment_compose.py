"""docker/compose.yaml follows the Compose specification, and its services are closed in as documented."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.front_door.configuration import fields_of, variable_of
from server.front_door.settings import Settings

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def of_profile(profile: str) -> set[str]:
    return {name for name, service in SERVICES.items() if profile in service["profiles"]}


def members(network: str) -> set[str]:
    return {name for name, service in SERVICES.items() if network in service["networks"]}


@pytest.mark.parametrize("file", ["compose.yaml", "compose.rollout.yaml"])
def test_file_follows_the_compose_specification(file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", file]
    result = subprocess.run(command, cwd=DOCKER, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_profiles_are_complete() -> None:
    assert of_profile("gpu") == {"triton", "front-door", "prometheus", "grafana"}
    assert of_profile("cpu") == {"front-door-cpu", "prometheus", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
    assert "privileged" not in service
    assert "cap_add" not in service
    # Ours have user and health check in their Dockerfiles, which another test looks at.
    assert "build" in service or {"user", "healthcheck"} <= service.keys()


def test_only_the_front_door_reaches_triton() -> None:
    assert SERVICES["triton"]["networks"] == ["inference"]
    assert "ports" not in SERVICES["triton"]
    assert members("inference") == {"triton", "front-door"}
    assert COMPOSE["networks"]["inference"]["internal"] is True


def test_prometheus_finds_whichever_front_door_runs() -> None:
    scrape = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    (target,) = scrape["scrape_configs"][0]["dns_sd_configs"]
    assert target["names"] == ["front-door"]
    assert "front-door" in SERVICES
    assert SERVICES["front-door-cpu"]["networks"]["monitoring"]["aliases"] == ["front-door"]
    assert {"front-door", "front-door-cpu", "prometheus"} <= members("monitoring")
    assert COMPOSE["networks"]["monitoring"]["internal"] is True
    for name in ("reviewlens.toml", "reviewlens-cpu.toml"):
        image = tomllib.loads((DOCKER / "front_door" / name).read_text(encoding="utf-8"))
        assert image["metrics"]["listen"] == f"0.0.0.0:{target['port']}"


def test_grafana_reads_its_dashboards_and_its_source() -> None:
    (source,) = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/reviewlens.yaml").read_text())["providers"]
    mounts = dict(volume.removesuffix(":ro").split(":") for volume in SERVICES["grafana"]["volumes"])
    folder = next(host for host, inside in mounts.items() if inside == provider["options"]["path"])
    assert list((DOCKER / folder).glob("*.json"))


def test_settings_exist_and_secrets_come_as_files() -> None:
    known = {variable_of(name) for name, _ in fields_of(Settings)}
    for name in ("front-door", "front-door-cpu"):
        service = SERVICES[name]
        variables = {variable for variable in service["environment"] if variable.startswith("REVIEWLENS_")}
        assert variables <= known
        files = {value for value in service["environment"].values() if str(value).startswith("/run/secrets/")}
        assert files == {f"/run/secrets/{secret}" for secret in service["secrets"]}
    assert all(list(secret) == ["file"] for secret in COMPOSE["secrets"].values())


def test_secrets_stay_out_of_git() -> None:
    assert (DOCKER / "secrets" / ".gitignore").read_text(encoding="utf-8").split() == ["*", "!.gitignore"]
    assert all(Path(secret["file"]).parent == Path("secrets") for secret in COMPOSE["secrets"].values())


def test_what_a_service_refers_to_exists() -> None:
    for service in SERVICES.values():
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
        assert set(service.get("depends_on", [])) <= SERVICES.keys()
        assert {config["source"] for config in service.get("configs", [])} <= COMPOSE["configs"].keys()
        assert set(service["networks"]) <= COMPOSE["networks"].keys()
        if "build" in service:
            dockerfile = DOCKER / service["build"]["context"] / service["build"]["dockerfile"]
            target = service["build"].get("target", "triton")
            assert re.search(rf"^FROM \S+ AS {target}$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    assert all((DOCKER / config["file"]).is_file() for config in COMPOSE["configs"].values())


def test_rollout_adds_a_triton_to_the_first() -> None:
    """Compose resolves ``extends.file``, like every path, from the folder of the first file: docker/."""
    rollout = yaml.safe_load((DOCKER / "compose.rollout.yaml").read_text(encoding="utf-8"))
    added = rollout["services"].keys() - SERVICES.keys()
    for name in added:
        origin = rollout["services"][name]["extends"]
        services = yaml.safe_load((DOCKER / origin["file"]).read_text(encoding="utf-8"))["services"]
        assert services[origin["service"]] == SERVICES["triton"]
        # It inherits the hardening, and has its own image.
        assert rollout["services"][name].keys() == {"extends", "image", "build"}
        assert rollout["services"][name]["image"] != SERVICES["triton"]["image"]
    assert added == {"triton-next"}
    front_door = rollout["services"]["front-door"]
    assert front_door.keys() == {"environment", "volumes"}
    assert front_door["environment"].keys() <= {variable_of(name) for name, _ in fields_of(Settings)}
    mounts = {volume.removesuffix(":ro").rpartition(":")[2]: volume for volume in front_door["volumes"]}
    assert {str(Path(file).parent) for file in front_door["environment"].values()} <= mounts.keys()
    assert "/models-next" in mounts
    # A named volume, and so with the owner that the image gives the folder.
    assert mounts["/reports"] == "reports:/reports"
    assert "reports" in rollout["volumes"]


def test_a_stop_waits_for_the_drain() -> None:
    for name in ("front-door", "front-door-cpu"):
        assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > Settings().drain_s


def test_embedded_triton_may_run_its_backend() -> None:
    """It copies programs to /tmp, and Docker mounts a tmpfs noexec unless told otherwise."""
    (tmpfs,) = SERVICES["front-door-cpu"]["tmpfs"]
    assert tmpfs.startswith("/tmp:")  # noqa: S108
    assert "exec" in tmpfs.split(":")[1].split(",")
