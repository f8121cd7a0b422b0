"""The folders are what the README says, each service has the same files, and each boundary holds."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from anygpt import topology
from tests.contract.surface import ROOT, environment_names

TOP_LEVEL = {
    "services", "protos", "shared", "helm", "tests",
    "docker-compose.yml", "pyproject.toml", "README.md", "Makefile", "Dockerfile", "LICENSE",
}  # fmt: skip
SERVICES = ROOT / "services"
LIBRARY = ROOT / "shared" / "anygpt"
MODELS = ROOT / "shared" / "anygpt_models"
GENERATED = LIBRARY / "v1"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VENDORS = {
    "kafka": LIBRARY / "kafka.py",
    "minio": LIBRARY / "minio.py",
    "redis": LIBRARY / "redis.py",
    "celery": LIBRARY / "queue.py",
}
NOUNLESS = {"utils.py", "helpers.py", "common.py", "manager.py", "base.py"}
MODALITY_WORDS = re.compile(r"\b(image|video|speech|audio|llm|diffusion)s?\b", re.IGNORECASE)
SPEAKS_OF_MODALITIES = re.compile(r"(topology|pack|vocabulary|(client|demo|cli)(_\w+)?)\.py")
COMMAND_LINE = {"ANYGPT_ADDRESS", "ANYGPT_CACHE", "ANYGPT_CLIENT__TOKEN"}
MAX_FILE, MAX_FUNCTION = 400, 60


def sources(*folders: Path) -> list[Path]:
    """Python files below the folders, generated ones left out."""
    found = (path for folder in folders for path in sorted(folder.rglob("*.py")))
    return [path for path in found if GENERATED not in path.parents]


OURS = sources(LIBRARY, MODELS, SERVICES)


def name(path: Path) -> str:
    """A path as a person would say it."""
    return str(path.relative_to(ROOT))


def variables(path: Path) -> set[str]:
    """The environment names in a text."""
    return set(re.findall(r"\bANYGPT_[A-Z0-9_]*[A-Z0-9]\b", path.read_text()))


@cache
def tree(path: Path) -> ast.Module:
    """A file, parsed."""
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """The full names of what a file imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(package: str) -> set[Path]:
    """The files that import a package."""
    return {path for path in OURS if any(one.split(".")[0] == package for one in imports(path))}


def test_the_top_level_has_no_other_folder_or_file() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] for line in tracked.splitlines()}
    assert {entry for entry in top if not entry.startswith(".")} <= TOP_LEVEL


def test_the_services_are_those_of_the_topology() -> None:
    folders = {path.name for path in SERVICES.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(topology.SERVICES)


@pytest.mark.parametrize("service", topology.SERVICES)
def test_every_service_has_the_same_files(service: str) -> None:
    folder = SERVICES / service
    expected = ["__init__.py", "__main__.py", "settings.py", "README.md"]
    if service in topology.STAGES:
        expected += ["stage.py"]
    missing = [file for file in expected if not (folder / file).is_file()]
    assert not missing, f"services/{service} lacks {', '.join(missing)}"
    assert len((folder / "__main__.py").read_text().splitlines()) <= 10


@pytest.mark.parametrize("service", topology.SERVICES)
def test_every_service_tells_its_owner_its_topics_and_its_settings(service: str) -> None:
    text = (SERVICES / service / "README.md").read_text().lower()
    missing = [word for word in ("owner", "reads", "writes", "settings") if word not in text]
    assert not missing, f"services/{service}/README.md says nothing of {', '.join(missing)}"


@pytest.mark.parametrize("service", topology.SERVICES)
def test_every_variable_that_a_service_tells_of_is_a_setting(service: str) -> None:
    told = variables(SERVICES / service / "README.md")
    assert told <= environment_names(service) | COMMAND_LINE


def test_every_variable_that_the_readme_tells_of_is_a_setting() -> None:
    known = {variable for service in topology.SERVICES for variable in environment_names(service)}
    assert variables(ROOT / "README.md") <= known | COMMAND_LINE


@pytest.mark.parametrize("service", topology.SERVICES)
def test_every_service_is_packaged(service: str) -> None:
    assert service in PROJECT["optional-dependencies"], f"pyproject.toml has no extra {service}"
    assert service in PROJECT["entry-points"]["anygpt.services"], (
        f"pyproject.toml has no entry point {service}"
    )


@pytest.mark.parametrize("modality", sorted(set(topology.MODALITIES) - {"text"}))
def test_every_modality_is_complete(modality: str) -> None:
    values = yaml.safe_load((ROOT / "helm" / "anygpt" / "values.yaml").read_text())["stages"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    missing = []
    for stage in (f"{modality}_encoder", f"{modality}_decoder"):
        places = {
            f"services/{stage}/": (SERVICES / stage).is_dir(),
            f"a row for {stage} in topology.py": stage in topology.STAGES,
            f"{stage} in helm/anygpt/values.yaml": stage in values,
            f"{stage} in docker-compose.yml": stage in compose,
        }
        missing += [place for place, there in places.items() if not there]
    assert not missing, f"{modality} lacks: {'; '.join(missing)}"


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_client_is_imported_by_its_adapter_alone(vendor: str) -> None:
    others = importers(vendor) - {VENDORS[vendor]}
    assert not others, f"{vendor} is imported by {', '.join(map(name, others))}"


def test_torch_lives_in_the_models() -> None:
    def may(path: Path) -> bool:
        service = path.relative_to(SERVICES).parts if SERVICES in path.parents else ()
        return (
            MODELS in path.parents
            or service[1:2] in (("model",), ("model.py",))
            or service[:1] == ("trainer",)
        )

    others = [name(path) for path in importers("torch") if not may(path)]
    assert not others, f"torch is imported by {', '.join(others)}"


def test_only_settings_read_the_environment() -> None:
    def reads(path: Path) -> bool:
        attributes = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute))
        by_name = any(one in ("os.environ", "os.getenv") for one in imports(path))
        return by_name or any(ast.unparse(node) in ("os.environ", "os.getenv") for node in attributes)

    readers = [name(path) for path in OURS if reads(path) and path.name != "settings.py"]
    assert not readers, f"the environment is read by {', '.join(readers)}"


def test_topic_names_are_spelled_in_the_topology_alone() -> None:
    spelled = re.compile(rf"[\"']{re.escape(topology.PREFIX)}\.(encode|decode|generate|replies|control|dead)")
    others = [name(path) for path in OURS if path.name != "topology.py" and spelled.search(path.read_text())]
    assert not others, f"topics are spelled by {', '.join(others)}"


def test_the_library_speaks_of_no_modality() -> None:
    found = []
    for path in sources(LIBRARY):
        if not SPEAKS_OF_MODALITIES.fullmatch(path.name):
            strings = {word.lower() for word in MODALITY_WORDS.findall(path.read_text())}
            found += [f"{name(path)} says {', '.join(sorted(strings))}"] if strings else []
    assert not found


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert not [name(path) for path in OURS if path.name in NOUNLESS]


def test_no_file_and_no_function_is_too_long_to_read() -> None:
    files = [name(path) for path in OURS if len(path.read_text().splitlines()) > MAX_FILE]
    functions = [
        f"{name(path)}:{node.name}"
        for path in OURS
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 >= MAX_FUNCTION
    ]
    assert not files
    assert not functions


def test_nothing_happens_at_import() -> None:
    calls = re.compile(r"^(print|logging\.basicConfig|torch\.set_|random\.seed|asyncio\.run)\b")
    found = [
        f"{name(path)}:{node.lineno}"
        for path in OURS
        if path.name != "__main__.py"
        for node in tree(path).body
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and calls.match(ast.unparse(node.value))
    ]
    assert not found
