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


GROUPS = {"notify": ("add", "list", "test"), "audit": ("list", "verify"), "ha": ("enable", "disable")}


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        ("notify --on drill add team", "notify add --on drill team"),
        ("notify add test --on drill", "notify add test --on drill"),
        ("notify test", "notify test"),
        ("notify", "notify"),
        ("notify bogus team", "notify bogus team"),
        ("ha --no-wait enable db01 --json", "--json ha enable --no-wait db01"),
        ("audit", "audit list"),
        ("audit -n 3 -e shop", "--environment shop audit list -n 3"),
        ("audit --head beef verify", "audit verify --head beef"),
        ("audit verify --head beef", "audit verify --head beef"),
        ("audit list", "audit list"),
        ("audit --help", "audit --help"),
        ("audit verify --help", "audit verify --help"),
        ("status audit verify", "status audit verify"),
        ("", ""),
    ],
)
def test_what_a_group_is_told_comes_next_to_its_name(words, parsed):
    assert hoist(words.split(), GROUPS) == (parsed.split(), None)


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
