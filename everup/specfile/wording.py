"""How a spec file's flaws are put into words: paths, values, near misses, and pydantic's errors in the user's terms."""

import json
import re
from collections.abc import Iterable
from typing import Any

Part = str | int
Path = tuple[Part, ...]
"""Where something stands in the file: `("services", "web", "needs", 0)`."""

_SHOWN_CHARACTERS = 40
_PLAIN_WORD = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.-]*")
_LOOKS_LIKE_ANOTHER_TYPE = ("true", "false", "null")
_WANTS = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping (KEY: value)",
    "model_type": "a mapping (key: value)",
    "none_required": "empty",
}
_LIMITS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "{} or more"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "{} or less"),
    "too_short": ("min_length", "a list of {} or more"),
    "too_long": ("max_length", "a list of {} or less"),
    "string_too_short": ("min_length", "at least {} characters long"),
    "string_too_long": ("max_length", "at most {} characters long"),
}
_YES_AND_NO = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def path_text(path: Path) -> str:
    """Write a path as a user would: `services.web.needs[0]`; an odd key is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else quoted(part)
            text += f".{word}" if text else word
    return text


def quoted(text: str) -> str:
    """Text in double quotes, shortened, with nothing in it that a terminal would act on."""
    short = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
    return printable(json.dumps(short, ensure_ascii=False))


def printable(text: str) -> str:
    """Text in one line, with every character that a terminal would act on written as an escape."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def shown(value: Any) -> str:
    """Name a value of the file in a sentence: `3`, `true`, `fast`, `"3"`, `a list`, `empty`."""
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case str():
            plain = _PLAIN_WORD.fullmatch(value) and len(value) <= _SHOWN_CHARACTERS
            return value if plain and value.lower() not in _LOOKS_LIKE_ANOTHER_TYPE else quoted(value)
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return str(value)


def is_about_type(error_type: str) -> bool:
    """Whether a pydantic error type says that a value has the wrong type, rather than a wrong value of its type."""
    return error_type in _WANTS or error_type in ("literal_error", "enum")


def want(error: Any) -> str:
    """What a pydantic error (one entry of `ValidationError.errors()`) asks for, without the leading "must be"."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _WANTS:
        return _WANTS[kind]
    if kind in ("literal_error", "enum"):
        return str(context["expected"]).replace("'", "")
    if kind in _LIMITS:
        key, text = _LIMITS[kind]
        return text.format(context[key])
    return ""


def either(wants: Iterable[str]) -> str:
    """Alternatives in a sentence: `true, false or a list`."""
    words = [word for wanted in wants for word in wanted.split(" or ")]
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def sentence(error: Any) -> tuple[str, str]:
    """What is wrong by a pydantic error, in words that never name pydantic, and a hint or "".

    A kind's own `ValueError("what is wrong", "what to do")` is passed on word for word.
    """
    if error["type"] in ("value_error", "assertion_error"):
        what, *rest = [str(arg) for arg in error["ctx"]["error"].args] or ["is not valid"]
        return what.rstrip("."), rest[0] if rest else ""
    wanted = want(error)
    if wanted:
        return f"must be {wanted}", ""
    if error["type"] == "string_pattern_mismatch":
        return f"must match {error['ctx']['pattern']}", ""
    if error["type"] == "finite_number":
        return "must be a finite number", ""
    text = str(error["msg"]).replace("Input should", "must").rstrip(".")
    return text[:1].lower() + text[1:], ""


def type_hint(value: Any, wanted: Iterable[str]) -> str:
    """How to write `value` so that it has one of the wanted types, or ""."""
    wants = set(wanted)
    if isinstance(value, str):
        if "true or false" in wants and value.lower() in _YES_AND_NO:
            return f"Write {_YES_AND_NO[value.lower()]}: {value} is text here."
        if "true or false" in wants and value.lower() in ("true", "false"):
            return f"Take the quotes away: {value.lower()}."
        if wants & {"a whole number", "a number"} and re.fullmatch(r"\d{1,9}", value):
            return f"Take the quotes away: {value}."
        if "a list" in wants:
            return f"Write [{value}]." if _PLAIN_WORD.fullmatch(value) else "Write [one, two]."
    if "text" in wants and isinstance(value, bool | int | float):
        return f'Put it in quotes: "{shown(value)}".'
    return ""
