"""The documentation is fresh, its links lead somewhere, and its examples of the spec are valid."""

import re
from pathlib import Path

import pytest

from docs.generate import FOLDER, PAGES
from everup.kinds import load_kinds
from everup.specfile.parse import parse

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/*.md")])


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_is_what_the_code_says(name: str):
    assert (FOLDER / name).read_text() == PAGES[name](), "stale: run `make docs`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_whole_spec_files_in_the_text_are_valid(document: Path):
    for block in re.findall(r"^```yaml\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE):
        if block.lstrip().startswith("environment:"):
            assert parse(block, document.name, load_kinds()).services


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "adr").glob("*.md")), ids=lambda path: path.name)
def test_decisions_are_short(path: Path):
    assert len(path.read_text().splitlines()) <= 40
