"""The client examples that the other tests run are the seed's own, to the letter."""

import re

import pytest

from tests.writers import CLIENTS, SEED


def code_blocks() -> list[str]:
    """The indented code blocks of the seed document, without their indentation."""
    blocks = re.findall(r"^    ```\n(.*?)^    ```$", (SEED / "ha-faq.md").read_text(), re.DOTALL | re.MULTILINE)
    return ["".join(line.removeprefix("    ") for line in block.splitlines(keepends=True)) for block in blocks]


def test_the_seed_document_has_four_client_examples():
    assert len(code_blocks()) == len(CLIENTS) == 4


@pytest.mark.parametrize(("name", "position"), [(name, i) for i, name in enumerate(CLIENTS)])
def test_the_example_is_the_seeds_unchanged(name: str, position: int):
    assert CLIENTS[name].snippet == code_blocks()[position]


@pytest.mark.parametrize("name", CLIENTS)
def test_only_lines_are_appended_to_the_example(name: str):
    assert CLIENTS[name].source.startswith(CLIENTS[name].snippet)
