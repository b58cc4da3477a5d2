"""Global options work before and after the command's name."""

import pytest

from everup.cli.arguments import hoist
from everup.specfile.naming import name_in


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        (["status", "--json"], ["--json", "status"]),
        (["-e", "shop", "status"], ["--environment", "shop", "status"]),
        (["status", "web", "-e", "shop", "--watch"], ["--environment", "shop", "status", "web", "--watch"]),
        (["up", "--file=a.yaml", "-y"], ["--file", "a.yaml", "--yes", "up"]),
        (["logs", "web", "-f"], ["logs", "web", "-f"]),
        (["-f", "a.yaml", "logs", "web", "-f", "-n", "3"], ["--file", "a.yaml", "logs", "web", "-f", "-n", "3"]),
        (["events", "-f", "--json"], ["--json", "events", "-f"]),
        (["status", "-e"], ["--environment", "status"]),
    ],
)
def test_global_options_come_first_and_f_follows_where_it_means_follow(words, parsed):
    assert hoist(words) == (parsed, None)


def test_nothing_after_the_dashes_is_touched():
    assert hoist(["run", "web", "--json", "--", "jq", "-f", "x", "--", "-e"]) == (
        ["--json", "run", "web"],
        ("jq", "-f", "x", "--", "-e"),
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("environment: shop\n", "shop"),
        ("# environment: old\nenvironment:  'shop-2'  # mine\nservices: {", "shop-2"),
        ('services: {}\nenvironment: "shop"', "shop"),
        ("services:\n  environment: shop\n", None),
        ("environment: Shop Floor\n", None),
        ("", None),
    ],
)
def test_a_wrong_file_still_has_a_name(text, name):
    assert name_in(text) == name
