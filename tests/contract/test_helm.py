"""The chart lints, renders what Kubernetes accepts, refuses unknown values, and fits our topology, CLI and settings."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from anygpt import topology
from anygpt.v1 import anygpt_service_pb2
from tests.contract.surface import ROOT, environment_names, parse_command
from tests.servers.install import helm_binary

CHART = ROOT / "helm" / "anygpt"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
FILES = [CHART / "values.yaml", *sorted((CHART / "examples").glob("*.yaml"))]
KUBERNETES = "1.33.0"
FOREIGN_KINDS = {"ScaledObject"}
"""Kinds of custom resources, which Kubernetes' own schemas do not hold."""

Manifest = Mapping[str, Any]


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs helm and returns what it said."""
    return subprocess.run([helm_binary(), *arguments], capture_output=True, text=True, check=False)


def render(*arguments: str | Path) -> list[Manifest]:
    """All manifests of a release named `demo`."""
    result = helm("template", "demo", CHART, "--kube-version", KUBERNETES, *arguments)
    assert result.returncode == 0, result.stderr
    return [manifest for manifest in yaml.safe_load_all(result.stdout) if manifest]


@cache
def rendered(values: Path) -> list[Manifest]:
    """The manifests for one file of values."""
    return render("-f", values)


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """The manifests of a kind by the name of their stage."""
    found = [manifest for manifest in manifests if manifest["kind"] == kind]
    return {one["metadata"]["labels"]["app.kubernetes.io/component"].replace("-", "_"): one for one in found}


def container_of(workload: Manifest) -> Mapping[str, Any]:
    """The one container of a Deployment or a Job."""
    [container] = workload["spec"]["template"]["spec"]["containers"]
    return dict(container)


def workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Deployments and Jobs by the name of their stage."""
    return {**of_kind(manifests, "Deployment"), **of_kind(manifests, "Job")}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """The manifests of each file of values in turn."""
    return rendered(request.param)


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_the_chart_lints(values: Path) -> None:
    result = helm("lint", "--strict", CHART, "-f", values, "--kube-version", KUBERNETES)
    assert result.returncode == 0, result.stdout


def test_kubernetes_accepts_every_manifest(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        if manifest["kind"] not in FOREIGN_KINDS:
            kubernetes_validate.validate(dict(manifest), KUBERNETES, strict=True)


def test_names_are_labels_that_dns_takes_and_occur_once(manifests: list[Manifest]) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(names) == len(set(names))
    assert all("_" not in name and len(name) <= 63 for _, name in names)


@pytest.mark.parametrize("service", topology.SERVICES)
def test_every_service_is_a_stage_of_the_chart(service: str) -> None:
    assert service in VALUES["stages"], f"helm/anygpt/values.yaml has no entry for {service}"


def test_the_chart_has_no_stage_that_is_no_service() -> None:
    assert set(VALUES["stages"]) <= set(topology.SERVICES)


@pytest.mark.parametrize("stage", topology.STAGES)
def test_a_stage_scales_on_the_lag_of_its_own_topics(stage: str) -> None:
    entry = topology.STAGES[stage]
    scaled = of_kind(rendered(FILES[0]), "ScaledObject")[stage]["spec"]
    triggers = [trigger["metadata"] for trigger in scaled["triggers"]]
    assert {trigger["topic"] for trigger in triggers} == {entry.topic, entry.batch_topic}
    assert {trigger["consumerGroup"] for trigger in triggers} == {stage}
    assert scaled["minReplicaCount"] <= scaled["maxReplicaCount"] <= topology.TOPICS[entry.topic].partitions


def test_a_scaled_object_has_what_keda_asks_for(manifests: list[Manifest]) -> None:
    deployments = of_kind(manifests, "Deployment")
    for stage, scaled in of_kind(manifests, "ScaledObject").items():
        assert scaled["spec"]["scaleTargetRef"]["name"] == deployments[stage]["metadata"]["name"]
        assert "replicas" not in deployments[stage]["spec"], "KEDA and the chart would quarrel"
        for trigger in scaled["spec"]["triggers"]:
            assert trigger["type"] == "kafka"
            assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_every_container_argument_parses_in_our_own_cli(manifests: list[Manifest]) -> None:
    for stage, workload in workloads(manifests).items():
        arguments = container_of(workload)["args"]
        if stage == "init":
            assert parse_command(arguments) == "init"
        else:
            assert parse_command(arguments) == "serve"
            assert arguments[1] == stage


def test_every_environment_name_is_a_setting(manifests: list[Manifest]) -> None:
    for stage, workload in workloads(manifests).items():
        unknown = {variable["name"] for variable in container_of(workload)["env"]} - environment_names(stage)
        assert not unknown, f"{stage} has no settings for {unknown}"


def test_every_stage_has_its_service_account_service_and_budget(manifests: list[Manifest]) -> None:
    deployments = of_kind(manifests, "Deployment")
    for kind in ("Service", "ServiceAccount", "PodDisruptionBudget"):
        assert set(of_kind(manifests, kind)) == set(deployments)
    for stage, service in of_kind(manifests, "Service").items():
        labels = deployments[stage]["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()


def test_probes_ask_grpc_health_for_life_and_for_the_service(manifests: list[Manifest]) -> None:
    for stage, deployment in of_kind(manifests, "Deployment").items():
        container = container_of(deployment)
        assert container["livenessProbe"]["grpc"] == {"port": 50052, "service": ""}
        assert container["readinessProbe"]["grpc"] == {"port": 50052, "service": stage}
        assert {"name": "ANYGPT_HEALTH_PORT", "value": "50052"} in container["env"], "probes speak no TLS"
        assert container["startupProbe"]["grpc"] == {"port": 50052, "service": stage}


def test_pods_run_without_privileges(manifests: list[Manifest]) -> None:
    for workload in workloads(manifests).values():
        pod, container = workload["spec"]["template"]["spec"], container_of(workload)
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "its variables would look like settings"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_a_pod_has_longer_to_end_than_its_work_has(manifests: list[Manifest]) -> None:
    for deployment in of_kind(manifests, "Deployment").values():
        [drain] = [one["value"] for one in container_of(deployment)["env"] if one["name"] == "ANYGPT_DRAIN_S"]
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > int(drain)


def test_a_pod_mounts_its_own_secrets_and_the_certificate() -> None:
    for stage, workload in workloads(rendered(FILES[0])).items():
        [files] = [one for one in workload["spec"]["template"]["spec"]["volumes"] if one["name"] == "secrets"]
        named = [source["secret"]["name"] for source in files["projected"]["sources"]]
        assert named == [f"anygpt-{stage.replace('_', '-')}", "anygpt-tls"]
        env = {one["name"]: one.get("value") for one in container_of(workload)["env"]}
        assert "ANYGPT_INSECURE" not in env
        mounts = {one["name"]: one["mountPath"] for one in container_of(workload)["volumeMounts"]}
        assert env["ANYGPT_SECRETS"] == mounts["secrets"]
        assert env["ANYGPT_TLS__CERT_FILE"].startswith(mounts["secrets"])


def test_a_gpu_stage_asks_for_its_gpu_and_uses_it() -> None:
    decoder = container_of(of_kind(rendered(CHART / "examples" / "gpu.yaml"), "Deployment")["image_decoder"])
    assert decoder["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"name": "ANYGPT_DEVICE", "value": "cuda"} in decoder["env"]
    assert decoder["envFrom"] == [{"secretRef": {"name": "anygpt"}}]


@pytest.mark.parametrize(
    "wrong",
    [
        "replicas=3",
        "stages.llm.replica=3",
        "stages.llm.resources.requests.gpu=1",
        "stages.llm.autoscaling.lag=3",
        "stages.Image-Decoder.enabled=true",
        "env.LD_PRELOAD=x",
        "image.pullPolicy=Sometimes",
        "store=file:///data",
        "bus=memory://",
        "insecure=true",
        "tls=",
    ],
)
def test_a_value_that_means_nothing_is_refused(wrong: str) -> None:
    result = helm("template", "demo", CHART, "--kube-version", KUBERNETES, "--set", wrong)
    assert result.returncode != 0
    assert "values don't meet the specifications of the schema" in result.stderr


def test_the_notes_call_an_rpc_that_exists() -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    [(service, method)] = re.findall(r"anygpt\.v1\.(\w+)/(\w+)", notes)
    assert method in anygpt_service_pb2.DESCRIPTOR.services_by_name[service].methods_by_name


def test_all_templates_together_stay_readable() -> None:
    lines = [line for path in (CHART / "templates").iterdir() for line in path.read_text().splitlines()]
    assert len(lines) <= 300
