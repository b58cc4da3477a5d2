"""Which word was probably meant by one that does not exist."""

import difflib
from collections.abc import Iterable


def nearest(word: str, accepted: Iterable[str]) -> str | None:
    """The accepted word that `word` was probably meant to be, if any comes near."""
    lowered = {choice.lower(): choice for choice in accepted}
    found = difflib.get_close_matches(word[:80].lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def did_you_mean(word: str, accepted: Iterable[str], what: str) -> str:
    """A hint for a word that does not exist: the nearest one that does, and all of them (`what` names them)."""
    choices = tuple(accepted)
    near = nearest(word, choices)
    listed = f"{what}: {', '.join(choices[:30])}{', …' if len(choices) > 30 else ''}." if choices else ""
    return " ".join(part for part in (f"Did you mean {near}?" if near else "", listed) if part)
