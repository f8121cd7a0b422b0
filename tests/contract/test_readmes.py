"""What the READMEs point at exists: files, folders, and the tests that are said to prove something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contract.surface import ROOT

READMES = sorted(path for path in (ROOT / "README.md", *ROOT.glob("services/*/README.md")))
LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>[^)#:\s]+)\)")
PATH = re.compile(r"`(tests/[\w/]+\.py)`")
TEST = re.compile(r"`(test_\w+)`")


def name(path: Path) -> str:
    """A README as a person would say it."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("readme", READMES, ids=name)
def test_every_link_and_path_leads_somewhere(readme: Path) -> None:
    text = readme.read_text()
    linked = [readme.parent / link["target"] for link in LINK.finditer(text)]
    told = [ROOT / path for path in PATH.findall(text)]
    assert not [str(target) for target in (*linked, *told) if not target.exists()]


@pytest.mark.parametrize("readme", READMES, ids=name)
def test_every_test_that_is_named_is_there(readme: Path) -> None:
    for link in LINK.finditer(readme.read_text()):
        for test in TEST.findall(link["text"]):
            assert f"def {test}(" in (readme.parent / link["target"]).read_text()


def test_readmes_name_tests_at_all() -> None:
    text = (ROOT / "README.md").read_text()
    assert len([link for link in LINK.finditer(text) if link["target"].startswith("tests/")]) > 20
    assert TEST.findall(text)
