"""Which environment a spec's text is about, found without reading all of it: a wrong file still has a name."""

import re

_NAME = re.compile(r"^environment:[ \t]*[\"']?([a-z][a-z0-9_-]*)[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)


def name_in(text: str) -> str | None:
    """The environment's name, if there is one."""
    found = _NAME.search(text)
    return found[1] if found else None
