"""Compose parses, starts everything in order, and says nothing that our own programs do not understand."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from anygpt import topology
from tests.contract.surface import ROOT, UsageError, environment_names, parse_command

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: entry for name, entry in SERVICES.items() if "build" in entry}
PINNED = re.compile(r":(\$\{ANYGPT_VERSION:-)?(RELEASE\.)?\d+[.-]\d+[^:]*$")


def service_of(name: str) -> str:
    """The service that a compose entry runs, such as llm for llm-gpu."""
    return str(OURS[name]["build"]["args"]["SERVICE"])


def profiles_of(service: str) -> set[str]:
    """The profiles that a service of ours is started in; an entry without profiles is in each."""
    entries = [entry for name, entry in OURS.items() if name != "init" and service_of(name) == service]
    return {profile for entry in entries for profile in entry.get("profiles", ["cpu", "gpu"])}


@pytest.mark.parametrize("service", topology.SERVICES)
def test_every_service_runs_in_both_profiles(service: str) -> None:
    missing = {"cpu", "gpu"} - profiles_of(service)
    assert not missing, f"docker-compose.yml has no entry for {service} in profile {missing}"


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_no_service_runs_twice_in_a_profile(profile: str) -> None:
    started = [
        service_of(name) for name, entry in OURS.items() if profile in entry.get("profiles", [profile])
    ]
    started.remove("gateway")  # its image is also that of init
    assert len(started) == len(set(started))


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    assert PINNED.search(SERVICES[name]["image"]), SERVICES[name]["image"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_others_wait_for_can_be_waited_for(name: str) -> None:
    for target, wait in SERVICES[name].get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[target], (
                f"{name} waits for the health of {target}, which has none"
            )
        else:
            assert wait["condition"] == "service_completed_successfully"
            assert SERVICES[target].get("restart", "no") == "no", f"{target} must end"


@pytest.mark.parametrize("name", sorted(set(OURS) - {"init"}))
def test_every_service_waits_for_servers_and_topics(name: str) -> None:
    waits = {target: wait["condition"] for target, wait in OURS[name]["depends_on"].items()}
    healthy = dict.fromkeys(("kafka", "minio", "redis"), "service_healthy")
    assert waits == {**healthy, "init": "service_completed_successfully"}


@pytest.mark.parametrize("name", OURS)
def test_every_command_parses_in_our_own_cli(name: str) -> None:
    command = OURS[name]["command"]
    if name == "init":
        assert parse_command(command) == "init"
    else:
        assert parse_command(command) == "serve"
        assert command[1] == service_of(name)


@pytest.mark.parametrize("name", sorted(set(OURS) - {"init"}))
def test_every_health_command_parses_in_our_own_cli(name: str) -> None:
    kind, program, *arguments = OURS[name]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "anygpt")
    assert parse_command(arguments) == "health"
    assert arguments[1] == service_of(name)


@pytest.mark.parametrize("name", OURS)
def test_every_environment_name_is_a_setting(name: str) -> None:
    unknown = set(OURS[name]["environment"]) - environment_names(service_of(name))
    assert not unknown, f"{service_of(name)} has no settings for {unknown}"


@pytest.mark.parametrize(
    "name", sorted(name for name, entry in OURS.items() if entry.get("profiles") == ["gpu"])
)
def test_what_runs_in_the_gpu_profile_alone_reserves_a_gpu(name: str) -> None:
    [device] = OURS[name]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert OURS[name]["environment"]["ANYGPT_DEVICE"] == "cuda"


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_ends_in_its_own_time(name: str) -> None:
    assert "stop_grace_period" in SERVICES[name] or name == "init"
    assert SERVICES[name].get("init") or name not in OURS


def test_every_container_sees_its_own_secrets_alone() -> None:
    for name, entry in SERVICES.items():
        seen = {volume.split(":")[0] for volume in entry.get("volumes", []) if volume.startswith("./")}
        own = service_of(name) if name in OURS and name != "init" else name
        assert seen == ({f"./secrets/{own}"} if name != "redis" else set())


def test_no_secret_stands_in_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / ".env.example").read_text()
    assert not re.search(r"(?i)(password|secret|token)\w*[:=] *[\w-]+$", text, re.MULTILINE)


def test_every_named_volume_and_variable_is_declared() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / ".env.example").read_text()
    used = {volume.split(":")[0] for entry in SERVICES.values() for volume in entry.get("volumes", [])}
    used = {volume for volume in used if not volume.startswith("./")}
    assert used == set(COMPOSE["volumes"])
    for variable, default in re.findall(r"\$\{(\w+)(:-[^}]*)?\}", text):
        assert default, f"{variable} has no default"
        assert re.search(rf"^{variable}=", example, re.MULTILINE), f".env.example does not name {variable}"


def test_the_image_has_the_ports_that_the_probes_ask() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "ANYGPT_PORT=50051" in dockerfile
    names = set(re.findall(r"(ANYGPT_\w+)=", dockerfile))
    assert names <= environment_names("gateway")


def test_the_image_of_the_trainer_has_what_its_data_are_built_with() -> None:
    chosen = dict(
        re.findall(r'trainer\) (extras|packages)="?([^";]+?)"? ;;', (ROOT / "Dockerfile").read_text())
    )
    assert set(chosen["extras"].split(",")) == {"trainer", "data"}
    assert set(chosen["packages"].split()) == {"npm", "fluidsynth", "fluid-soundfont-gm"}


@pytest.mark.parametrize("wrong", [["serv"], ["serve", "--buss", "x"], ["health", "a", "b"]])
def test_a_command_that_our_cli_lacks_would_be_noticed(wrong: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_command(wrong)
