"""What we build on, audited without a network: consistent, in ranges, free to ship, and without a known hole.

`FIXED_IN` grows by hand, with the advisories that concern us; a network audit beside it is an operator's affair.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = "anygpt-service"
FIXED_IN: Mapping[str, tuple[str, str]] = {
    "celery": ("5.2.2", "CVE-2021-23727"),
    "certifi": ("2024.7.4", "CVE-2024-39689"),
    "cryptography": ("44.0.1", "CVE-2024-12797"),
    "filelock": ("3.20.1", "CVE-2025-68146"),
    "fonttools": ("4.60.2", "CVE-2025-66034"),
    "grpcio": ("1.56.2", "CVE-2023-33953"),
    "h11": ("0.16.0", "CVE-2025-43859"),
    "idna": ("3.7", "CVE-2024-3651"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
    "markdown-it-py": ("2.2.0", "CVE-2023-26302"),
    "pillow": ("11.3.0", "CVE-2025-48379"),
    "protobuf": ("6.31.1", "CVE-2025-4565"),
    "pycryptodome": ("3.19.1", "CVE-2023-52323"),
    "pygments": ("2.15.0", "CVE-2022-40896"),
    "pyjwt": ("2.10.1", "CVE-2024-53861"),
    "redis": ("4.5.4", "CVE-2023-28859"),
    "requests": ("2.32.4", "CVE-2024-47081"),
    "setuptools": ("78.1.1", "CVE-2025-47273"),
    "torch": ("2.6.0", "CVE-2025-32434"),
    "tqdm": ("4.66.3", "CVE-2024-34062"),
    "transformers": ("4.53.0", "CVE-2025-6638"),
    "urllib3": ("2.6.0", "CVE-2025-66418"),
}
FREE = re.compile(
    r"apache|\bmit\b|bsd|isc\b|mpl|mozilla|python software|psf|zlib|unlicense|hpnd", re.IGNORECASE
)
OTHERWISE = {
    "crc32c": "LGPL: a shared library of its own, which is loaded and not changed",
    "cuda-toolkit": "names the packages of NVIDIA's that torch loads; holds nothing itself",
}
NVIDIA = re.compile(r"^nvidia-")
"""What torch loads on NVIDIA's GPUs may be passed on by its own licence, and is in no file of ours."""


def declared() -> list[Requirement]:
    """Every requirement of the project, of whichever extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [one for group in groups for one in map(Requirement, group) if one.name != PROJECT]


def installed(extras: frozenset[str]) -> dict[str, list[Requirement]]:
    """Everything that the project brings with these extras, and who asks for it in which versions."""
    asked: dict[str, list[Requirement]] = {}
    queue, seen = [(PROJECT, extras)], set[tuple[str, frozenset[str]]]()
    while queue:
        place = queue.pop()
        if place in seen:
            continue
        seen.add(place)
        for one in _asked_by(*place):
            asked.setdefault(canonicalize_name(one.name), []).append(one)
            queue.append((canonicalize_name(one.name), frozenset(one.extras)))
    return asked


def _asked_by(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    for one in map(Requirement, metadata.requires(name) or ()):
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield one


@pytest.fixture(scope="module")
def closure() -> dict[str, list[Requirement]]:
    """What a developer has."""
    return installed(frozenset({"all", "dev"}))


def test_every_package_has_what_it_asks_for(closure: dict[str, list[Requirement]]) -> None:
    wrong = [
        f"{one} is asked for, {metadata.version(name)} is there"
        for name, asked in closure.items()
        for one in asked
        if not one.specifier.contains(metadata.version(name), prereleases=True)
    ]
    assert wrong == []


def test_everything_is_asked_for_in_a_range_and_nothing_by_address_or_hash() -> None:
    for one in declared():
        assert one.url is None, one
        operators = {each.operator for each in one.specifier}
        assert operators & {">=", "=="}, f"{one} has no lower end"
        assert "===" not in operators, one
    assert "--hash" not in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", FIXED_IN)
def test_nothing_is_installed_or_admitted_that_has_a_known_hole(
    name: str, closure: dict[str, list[Requirement]]
) -> None:
    fixed, advisory = FIXED_IN[name]
    assert name in closure, f"{name} is not used any more"
    assert Version(metadata.version(name)) >= Version(fixed), advisory
    for one in declared():
        if canonicalize_name(one.name) == name:
            lowest = max(Version(each.version) for each in one.specifier if each.operator in (">=", "=="))
            assert lowest >= Version(fixed), f"{one} admits {advisory}"


def test_everything_that_the_services_run_on_may_be_passed_on() -> None:
    names = [name for name in installed(frozenset({"all"})) if not NVIDIA.match(name)]
    unclear = [name for name in names if name not in OTHERWISE and not FREE.search(_licence(name))]
    assert unclear == []


def _licence(name: str) -> str:
    told = metadata.metadata(name)
    classifiers = [one for one in told.get_all("Classifier") or () if one.startswith("License")]
    named = [told[field][:60] for field in ("License-Expression", "License") if field in told]
    return " ".join([*named, *classifiers])
