"""Global options anywhere on the command line, and what follows `--`."""

from collections.abc import Sequence

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


def hoist(words: Sequence[str]) -> tuple[list[str], tuple[str, ...] | None]:
    """Bring the global options to the front.

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
    return front + rest, tail
