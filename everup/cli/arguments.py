"""Global options anywhere on the command line, and what follows `--`."""

from collections.abc import Mapping, Sequence

_WITH_VALUE = {
    "-f": "--file",
    "--file": "--file",
    "-e": "--environment",
    "--environment": "--environment",
    "--server": "--server",
    "--token": "--token",
}
_FLAGS = {"--json": "--json", "--yes": "--yes", "-y": "--yes"}
_OWN = {"logs": {"-f"}, "events": {"-f"}, "token": {"-e", "--environment"}, "context": {"--server"}}
"""Commands with an option of their own that is called like a global one, which still works before their name."""

_UNSAID = {"audit": "list"}
"""Groups of which one command is meant where none is named."""

_HELP = {"-h", "--help"}


def hoist(
    words: Sequence[str], groups: Mapping[str, Sequence[str]] | None = None
) -> tuple[list[str], tuple[str, ...] | None]:
    """Bring the global options to the front, and the second word of a group's command next to its first.

    Args:
        groups: the words that are followed by another, and by which.

    Returns:
        the words to parse, and what followed the first `--`: None when there was no `--`.
    """
    words = list(words)
    tail: tuple[str, ...] | None = None
    if "--" in words:
        cut = words.index("--")
        words, tail = words[:cut], tuple(words[cut + 1 :])
    front: list[str] = []
    rest: list[str] = []
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if rest and name in _OWN.get(rest[0], ()):
            rest.append(word)
        elif name in _WITH_VALUE:
            front.append(_WITH_VALUE[name])
            if equals or words:
                front.append(value if equals else words.pop(0))
        elif word in _FLAGS:
            front.append(_FLAGS[word])
        else:
            rest.append(word)
    return front + _in_order(rest, groups or {}), tail


def _in_order(rest: list[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """`notify --on drill add team` is `notify add --on drill team`, and `audit` is `audit list`."""
    first, others = rest[:1], rest[1:]
    seconds = groups.get(first[0], ()) if first else ()
    second = next((word for word in others if word in seconds), _UNSAID.get(first[0]) if seconds else None)
    if second is None or (second not in others and _HELP & set(others)):
        return rest
    at = others.index(second) if second in others else len(others)
    return [*first, second, *others[:at], *others[at + 1 :]]
