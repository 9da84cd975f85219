"""The Kubernetes manifests follow the API's schemas, agree with one another, and are closed in as documented."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from server.front_door.configuration import variable_of
from server.front_door.rollout.plan import read_plan
from server.front_door.settings import Settings, split_address
from tests.unit.docker_files import DOCKER, environment, load_settings, stage

KUBERNETES = DOCKER / "kubernetes"
OLDEST, NEWEST = "1.34", "1.37"  # supported; probes, sleep and autoscaling/v2 are stable in all of them
# Kinds of other projects, whose schemas no wheel carries, with what each must have.
CUSTOM = {
    ("keda.sh/v1alpha1", "ScaledObject"): {"scaleTargetRef", "triggers", "minReplicaCount", "maxReplicaCount"},
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {"selector", "endpoints"},
    ("monitoring.coreos.com/v1", "PrometheusRule"): {"groups"},
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): {"supportedModelFormats", "containers"},
    ("serving.kserve.io/v1beta1", "InferenceService"): {"predictor"},
}
Resource = dict[str, Any]

KUBECTL = shutil.which("kubectl")
kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl, whose kustomize renders the overlays")


def kustomizations() -> list[Path]:
    return sorted(KUBERNETES.rglob("kustomization.yaml"))


def load(path: Path) -> list[Resource]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def named_files(kustomization: Path) -> Iterator[Path]:
    """Files and folders that a kustomization names."""
    (content,) = load(kustomization)
    names = [*content.get("resources", []), *content.get("components", [])]
    names += [patch["path"] for patch in content.get("patches", []) if "path" in patch]
    names += [file for generator in content.get("configMapGenerator", []) for file in generator["files"]]
    yield from ((kustomization.parent / name).resolve() for name in names)


def manifests() -> Iterator[Path]:
    """Files of whole resources."""
    for kustomization in kustomizations():
        for name in load(kustomization)[0].get("resources", []):
            if (file := (kustomization.parent / name)).is_file():
                yield file


RESOURCES = [resource for path in manifests() for resource in load(path)]


def check(resource: Resource) -> None:
    """Validate against the schemas of the API, or as ``CUSTOM`` says."""
    kind = resource["apiVersion"], resource["kind"]
    if kind in CUSTOM:
        assert CUSTOM[kind] <= resource["spec"].keys()
        return
    for version in (OLDEST, NEWEST):
        kubernetes_validate.validate(resource, version, strict=True)


def find(kind: str, name: str, resources: list[Resource] | None = None) -> Resource:
    candidates = RESOURCES if resources is None else resources
    (found,) = [r for r in candidates if r["kind"] == kind and r["metadata"]["name"] == name]
    return found


def workloads() -> list[tuple[str, Resource, Resource]]:
    """Name, spec of the pods and the only container of everything that runs."""
    specs = [(r["metadata"]["name"], r["spec"]["template"]["spec"]) for r in RESOURCES if r["kind"] == "Deployment"]
    runtime = find("ServingRuntime", "reviewlens-triton")["spec"]
    pods = find("InferenceService", "reviewlens-triton")["spec"]["predictor"]
    specs.append(("kserve", runtime | pods))
    return [(name, spec, *spec["containers"]) for name, spec in specs]


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: f"{r['kind']}-{r['metadata']['name']}")
def test_manifest_follows_its_schema(resource: Resource) -> None:
    check(resource)


def test_a_wrong_field_is_found() -> None:
    resource = yaml.safe_load(yaml.safe_dump(find("Deployment", "triton")))
    resource["spec"]["template"]["spec"]["containers"][0]["readinessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinessProb"):
        check(resource)


def test_every_file_is_used_and_every_name_exists() -> None:
    named = {path for kustomization in kustomizations() for path in named_files(kustomization)}
    assert [path for path in named if not path.exists()] == []
    files = {path.resolve() for path in KUBERNETES.rglob("*") if path.is_file()}
    unused = files - named - {path.resolve() for path in kustomizations()}
    # For Helm, and to be copied, as their heads say.
    assert {path.name for path in unused} == {"prometheus-adapter-values.yaml", "rollout.toml"}


def render(folder: Path) -> list[Resource]:
    """What ``kubectl apply --kustomize`` would apply; all of it follows its schemas, with the images of the overlay."""
    output = subprocess.run([str(KUBECTL), "kustomize", folder], capture_output=True, text=True, check=True).stdout
    resources: list[Resource] = list(yaml.safe_load_all(output))
    for resource in resources:
        check(resource)
        if resource["kind"] == "Deployment":
            pods = resource["spec"]["template"]["spec"]
            for container in [*pods.get("initContainers", []), *pods["containers"]]:
                check_context(pods, container)
    images = re.findall(r"image: (\S+)", output)
    assert images
    assert all(image.startswith("registry.example.com/") for image in images)
    return resources


@kubectl
@pytest.mark.parametrize("folder", [path.parent for path in kustomizations() if "overlays" in path.parts])
def test_overlay_renders_to_valid_manifests(folder: Path) -> None:
    resources = render(folder)
    for resource in resources:
        if resource["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}:
            target = find("Deployment", resource["spec"]["scaleTargetRef"]["name"], resources)
            assert "replicas" not in target["spec"], "the autoscaler's number would be overwritten at each apply"
    front_door = find("Deployment", "front-door", resources)["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in front_door["volumes"]}
    (container,) = front_door["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    in_mesh = "mesh" in folder.name
    assert ("tls" in volumes) is not in_mesh
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert ("grpc" in container[probe]) is in_mesh
    check_patience_with_triton(container)


def check_patience_with_triton(container: Resource) -> None:
    """A front door that is started must not be killed because Triton takes its time: it is alive, and not ready."""
    startup, alive, ready = (
        {how: probe[how] for how in ("exec", "httpGet", "grpc") if how in probe}
        for probe in (container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe"))
    )
    assert startup == alive != ready


def yaml_of_documents() -> Iterator[tuple[str, Resource]]:
    """Name of the document, and what stands in each block of YAML in it."""
    for document in sorted((DOCKER.parent / "docs").glob("*.md")):
        for block in re.findall(
            r"^ *```yaml\n(.*?)^ *```$", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            yield from ((document.name, content) for content in yaml.safe_load_all(block))


def containers_of(content: object) -> Iterator[Resource]:
    """Containers with an image, at any depth of a manifest, or of a patch that adds them."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key in {"containers", "initContainers"}:
                yield from (container for container in value if "image" in container)
            else:
                yield from containers_of(value)
    elif isinstance(content, list):
        for part in content:
            yield from containers_of(part)


def test_no_container_gets_past_pod_security_anywhere() -> None:
    """The namespace refuses others: also those of patches, and of what the documents tell people to write."""
    written = [content for _, content in yaml_of_documents()]
    assert written
    for content in written:
        if {"apiVersion", "kind"} <= content.keys():
            check(content)
    files = [content for path in KUBERNETES.rglob("*.yaml") for content in load(path)]
    containers = list(containers_of([*written, *files]))
    assert len(containers) > len(workloads())
    for container in containers:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, container["name"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, container["name"]


@kubectl
@pytest.mark.parametrize("name", ["production", "mesh-keda"])
def test_second_version_gets_a_triton_of_its_own(tmp_path: Path, name: str) -> None:
    """An overlay with the lines of docs/rollout.md."""
    folder = KUBERNETES / "overlays" / name
    (overlay,) = load(folder / "kustomization.yaml")
    (added,) = [content for document, content in yaml_of_documents() if document == "rollout.md"]
    for key, values in added.items():
        overlay[key] = [*overlay.get(key, []), *values]
    for key in ("resources", "components"):
        overlay[key] = [os.path.relpath((folder / value).resolve(), tmp_path.resolve()) for value in overlay[key]]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    shutil.copy(KUBERNETES / "components" / "triton-next" / "rollout.toml", tmp_path)
    resources = render(tmp_path)

    ours, theirs = (find("Deployment", name, resources)["spec"] for name in ("triton", "triton-next"))
    (container,), (next_container,) = (spec["template"]["spec"]["containers"] for spec in (ours, theirs))
    assert next_container == container | {"image": "registry.example.com/reviewlens/triton:0.2.0"}
    assert container["image"] == "registry.example.com/reviewlens/triton:0.1.0"
    assert "replicas" in theirs, "no autoscaler looks after it"
    labels = theirs["template"]["metadata"]["labels"]
    assert find("Service", "triton-next", resources)["spec"]["selector"].items() <= labels.items()
    assert not find("Service", "triton", resources)["spec"]["selector"].items() <= labels.items()
    budget = find("PodDisruptionBudget", "triton-next", resources)
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for rule in (find("NetworkPolicy", "triton", resources)["spec"], egress_to_triton(resources)):
        assert rule["podSelector"]["matchLabels"].items() <= labels.items()

    pods = find("Deployment", "front-door", resources)["spec"]["template"]["spec"]
    (front_door,), (init,) = pods["containers"], pods["initContainers"]
    assert init["image"] == "registry.example.com/reviewlens/front-door:0.2.0"
    mounts = {mount["mountPath"] for mount in front_door["volumeMounts"]}
    (variable,) = front_door["env"]
    assert variable["name"] == variable_of("rollout.file")
    assert str(Path(variable["value"]).parent) in mounts
    plan = tomllib.loads(find("ConfigMap", "rollout", resources)["data"][Path(variable["value"]).name])
    assert plan["champion"]["triton_url"] == settings("base").triton_url
    assert plan["challenger"]["triton_url"] == "triton-next:8001"
    assert plan["challenger"]["model_repository"] in mounts


def egress_to_triton(resources: list[Resource]) -> Resource:
    rules = find("NetworkPolicy", "front-door", resources)["spec"]["egress"]
    (found,) = [rule["to"][0] for rule in rules if {"protocol": "TCP", "port": 8001} in rule["ports"]]
    return dict(found)


def test_rollout_file_of_the_component_can_be_read() -> None:
    plan = read_plan(KUBERNETES / "components" / "triton-next" / "rollout.toml")
    assert plan.challenger is not None
    assert plan.challenger.share == 0


def check_context(pods: Resource, container: Resource) -> None:
    """What the namespace enforces of every container, init containers included, and a read-only filesystem."""
    context = pods.get("securityContext", {}) | container["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize(
    ("name", "pods", "container"), workloads(), ids=lambda value: value if type(value) is str else ""
)
def test_workload_is_hardened(name: str, pods: Resource, container: Resource) -> None:
    check_context(pods, container)
    assert pods["automountServiceAccountToken"] is False
    assert pods["serviceAccountName"] == ("front-door" if name == "front-door" else "triton")
    assert "memory" in container["resources"]["limits"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


@pytest.mark.parametrize(
    ("name", "pods", "container"), workloads(), ids=lambda value: value if type(value) is str else ""
)
def test_pods_live_longer_than_their_drain(name: str, pods: Resource, container: Resource) -> None:
    if name == "front-door":
        drain_s = settings("base").drain_s
    else:
        drain_s = float(next(variable["value"] for variable in container["env"] if variable["name"] == "DRAIN_S"))
    pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pods["terminationGracePeriodSeconds"] >= pause_s + drain_s + 10


def settings(folder: str) -> Settings:
    """The settings of the front door, as the server reads them below the environment of its image and its container."""
    (container,) = find("Deployment", "front-door")["spec"]["template"]["spec"]["containers"]
    variables = environment(stage("front_door.Dockerfile", "front-door"))
    variables |= {variable["name"]: variable["value"] for variable in container.get("env", [])}
    return load_settings(KUBERNETES / folder / "reviewlens.toml", variables)


@pytest.mark.parametrize("folder", ["base", "components/mesh"])
def test_settings_agree_with_the_manifests(folder: str) -> None:
    ours = settings(folder)
    assert ours == load_settings(KUBERNETES / folder / "reviewlens.toml"), "the environment goes before the file"
    front_door = find("Deployment", "front-door")["spec"]["template"]["spec"]
    (container,) = front_door["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert split_address(ours.listen) == ("0.0.0.0", ports["grpc"])  # noqa: S104
    assert split_address(ours.metrics.listen) == ("0.0.0.0", ports["metrics"])  # noqa: S104
    host, port = split_address(ours.triton_url)
    assert port in {p["port"] for p in find("Service", host)["spec"]["ports"]}
    mounted = tuple(mount["mountPath"] for mount in container["volumeMounts"])
    files = [ours.auth.tokens_file, ours.tls.certificate_file, ours.tls.key_file]
    assert all(str(file).startswith(mounted) for file in files if file is not None)
    assert (ours.tls.certificate_file is None) is ours.tls.allow_plaintext


def test_selectors_find_pods() -> None:
    labels = [r["spec"]["template"]["metadata"]["labels"] for r in RESOURCES if r["kind"] == "Deployment"]
    labels.append(find("ServingRuntime", "reviewlens-triton")["spec"]["labels"])
    kinds = {
        "Service": lambda spec: spec["selector"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda spec: spec["podSelector"].get("matchLabels", {}),
        "Deployment": lambda spec: spec["selector"]["matchLabels"],
    }
    for resource in RESOURCES:
        if resource["kind"] in kinds:
            selector = kinds[resource["kind"]](resource["spec"])
            assert any(selector.items() <= pod.items() for pod in labels), resource["metadata"]["name"]


def test_monitors_find_services_and_their_ports() -> None:
    for resource in RESOURCES:
        if resource["kind"] == "ServiceMonitor":
            selector = resource["spec"]["selector"]["matchLabels"]
            (service,) = [
                r
                for r in RESOURCES
                if r["kind"] == "Service" and selector.items() <= r["metadata"].get("labels", {}).items()
            ]
            ports = {port["name"] for port in service["spec"]["ports"]}
            assert {endpoint["port"] for endpoint in resource["spec"]["endpoints"]} <= ports
            # The alerts ask for this job.
            assert service["metadata"]["labels"][resource["spec"]["jobLabel"]] == resource["metadata"]["name"]


def test_only_the_front_door_reaches_triton() -> None:
    everything = find("NetworkPolicy", "deny-all")["spec"]
    assert everything == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    allowed = find("NetworkPolicy", "triton")["spec"]["ingress"]
    by_port = {port["port"]: rule["from"] for rule in allowed for port in rule["ports"]}
    front_door = find("Deployment", "front-door")["spec"]["selector"]["matchLabels"]
    assert by_port[8001] == [{"podSelector": {"matchLabels": front_door}}]
    assert by_port.keys() == {8001, 8002}
    assert "egress" not in find("NetworkPolicy", "triton")["spec"]


@pytest.mark.parametrize("name", ["triton", "front-door"])
def test_autoscaling_follows_the_queue(name: str) -> None:
    """A Triton is added when as many tokens wait as one has in flight, and a front door with it."""
    batching = settings("base").batching
    in_flight = str(batching.token_budget * batching.concurrency)
    metric, *_ = find_by_file("autoscaling-hpa/autoscalers.yaml", name)["spec"]["metrics"]
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": in_flight}
    (adapter,) = load(KUBERNETES / "components/autoscaling-hpa/prometheus-adapter-values.yaml")
    (rule,) = adapter["rules"]["external"]
    assert rule["name"]["as"] == metric["external"]["metric"]["name"] == "reviewlens_queue_tokens"
    trigger, *_ = find_by_file("autoscaling-keda/scaled-objects.yaml", name)["spec"]["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "AverageValue")
    assert trigger["metadata"]["threshold"] == in_flight
    assert "reviewlens_queue_tokens" in trigger["metadata"]["query"]


def find_by_file(file: str, name: str) -> Resource:
    (found,) = [r for r in load(KUBERNETES / "components" / file) if r["metadata"]["name"] == name]
    return found


def test_probe_is_the_images_health_check() -> None:
    dockerfile = (KUBERNETES.parent / "front_door.Dockerfile").read_text(encoding="utf-8")
    match = re.search(r"HEALTHCHECK .*\\\n\s+CMD (\[.*\])", dockerfile)
    assert match is not None
    command = yaml.safe_load(match[1])
    (container,) = find("Deployment", "front-door")["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["exec"]["command"] == command
    check_patience_with_triton(container)


def test_kserve_runs_the_same_container() -> None:
    (ours,) = find("Deployment", "triton")["spec"]["template"]["spec"]["containers"]
    (theirs,) = find("ServingRuntime", "reviewlens-triton")["spec"]["containers"]
    same = ("env", "resources", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "volumeMounts")
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
    numbers = [{port["name"]: port["containerPort"] for port in container["ports"]} for container in (ours, theirs)]
    assert numbers[0] == numbers[1]
    for port in find("Service", "triton")["spec"]["ports"]:
        assert numbers[0][port["targetPort"]] == port["port"]
