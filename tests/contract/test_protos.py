"""The contracts are linted, the committed code and image come from them, and no change breaks a client."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"
IMAGE = PROTOS / "anygpt.binpb"
GENERATED = ROOT / "shared" / "anygpt" / "v1"
BIN = Path(sys.executable).parent


def buf(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs buf and returns what it said."""
    return subprocess.run([BIN / "buf", *arguments], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """A copy of the protos, to be changed."""
    return Path(shutil.copytree(PROTOS, tmp_path / "protos"))


def replace(folder: Path, old: str, new: str) -> None:
    """Changes the one contract file that has `old`."""
    [path] = [path for path in folder.rglob("*.proto") if old in path.read_text()]
    path.write_text(path.read_text().replace(old, new, 1))


def test_the_contracts_follow_the_standard_lint() -> None:
    result = buf("lint", PROTOS)
    assert result.returncode == 0, result.stdout


def test_the_committed_image_holds_the_contracts_as_they_are(tmp_path: Path) -> None:
    assert buf("build", PROTOS, "-o", tmp_path / "fresh.binpb").returncode == 0
    assert (tmp_path / "fresh.binpb").read_bytes() == IMAGE.read_bytes(), "run `make proto`"


def test_the_committed_code_is_what_the_contracts_generate(tmp_path: Path) -> None:
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    plugins = [f"--plugin=protoc-gen-{kind}={BIN / f'protoc-gen-{kind}'}" for kind in ("mypy", "mypy_grpc")]
    files = sorted(PROTOS.rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *plugins, *outputs, *map(str, files)]
    subprocess.run(command, check=True, capture_output=True)
    fresh = {path.name: path.read_text() for path in (tmp_path / "anygpt" / "v1").iterdir()}
    committed = {path.name: path.read_text() for path in GENERATED.glob("*_pb2*")}
    assert sorted(fresh) == sorted(committed), "run `make proto`"
    stale = [name for name, text in fresh.items() if committed[name] != text]
    assert not stale, "run `make proto`"


def test_no_contract_breaks_the_clients_of_the_image() -> None:
    result = buf("breaking", PROTOS, "--against", IMAGE)
    assert result.returncode == 0, result.stdout


def test_a_removed_field_would_be_noticed(edited: Path) -> None:
    replace(edited, "  MODALITY_TEXT = 1;\n", "")
    result = buf("breaking", edited, "--against", IMAGE)
    assert result.returncode != 0
    assert "deleted" in result.stdout


def test_an_added_modality_would_be_welcome(edited: Path) -> None:
    replace(edited, "  MODALITY_TEXT = 1;\n", "  MODALITY_TEXT = 1;\n  MODALITY_SMELL = 99;\n")
    assert buf("breaking", edited, "--against", IMAGE).returncode == 0


def test_every_rpc_says_what_it_is_for() -> None:
    silent = []
    for path in PROTOS.rglob("*.proto"):
        lines = path.read_text().splitlines()
        for before, line in itertools.pairwise(lines):
            if line.strip().startswith("rpc ") and not before.strip().startswith("//"):
                silent.append(f"{path.name}: {line.strip()}")
    assert not silent
