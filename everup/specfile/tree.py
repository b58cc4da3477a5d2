"""YAML text as plain values that remember their line and column. Knows YAML 1.2, and nothing about services."""

import math
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from everup.model.errors import Flaw
from everup.specfile.wording import Path, path_text, printable, quoted

MAX_CHARACTERS = 256 * 1024
MAX_DEPTH = 32
MAX_VALUES = 10_000
"""Limits of a spec file; far above any real one, so that no file can exhaust memory or the stack."""

_YAML_HINTS = {
    "mapping values are not allowed": "Check the indentation, and put text that holds ': ' in quotes.",
    "could not find expected ':'": "A line here lacks its colon, or its indentation differs from its neighbours'.",
    "expected ',' or": "A bracket, brace or quote is opened and never closed.",
    "expected <block end>": "Keys of one mapping must start in the same column.",
    "while scanning a quoted": "A quote is opened and never closed.",
    "stream end": "A bracket, brace or quote is opened and never closed.",
    "undefined alias": "Text that starts with * must be in quotes.",
    "that cannot start any token": "Put text that starts with this character in quotes.",
}
_TEXT_TAGS = tuple(f"tag:yaml.org,2002:{name}" for name in ("str", "timestamp", "merge"))
_VALUE_TAGS = tuple(f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null"))
_UNTAGGED = "Remove it, or put text that starts with ! in quotes."
_UNQUOTED = "Put text that starts with { or [ in quotes."


@dataclass(frozen=True, order=True)
class Spot:
    """A place in the file; both count from 1, columns in characters."""

    line: int
    column: int


@dataclass
class Tree:
    """A file's values (`dict`, `list`, `str`, `int`, `float`, `bool`, `None`) and where each key and value stands.

    `value` is the whole file, None when it is empty; what could not be read is left out of it and is in `flaws`.
    """

    value: Any = None
    keys: dict[Path, Spot] = field(default_factory=dict)
    values: dict[Path, Spot] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)

    def key_spot(self, path: Path) -> Spot:
        """Where the key at `path` stands, or else the closest thing around it."""
        while path:
            if path in self.keys:
                return self.keys[path]
            if path in self.values:
                return self.values[path]
            path = path[:-1]
        return Spot(1, 1)

    def value_spot(self, path: Path) -> Spot:
        """Where the value at `path` stands; an empty value has no place, so its key's."""
        return self.values.get(path) or self.key_spot(path)

    def flaw(self, spot: Spot, message: str, hint: str = "", code: str = "spec.invalid", *near: str) -> Flaw:
        """A flaw at `spot`, safe to print; `near` are the accepted values."""
        return Flaw(printable(message), spot.line, spot.column, printable(hint), code, near)


def read_tree(text: str) -> Tree:
    """Read YAML text. Never raises: whatever is wrong with it is in `Tree.flaws`."""
    tree = Tree()
    if len(text) > MAX_CHARACTERS:
        tree.flaws.append(Flaw(f"the file is larger than {MAX_CHARACTERS // 1024} KiB", 1, 1, code="spec.yaml"))
        return tree
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = MAX_DEPTH
    try:
        node = yaml.compose(text)
    except Exception as problem:  # besides YAMLError, odd escapes and directives make the parser itself fail
        tree.flaws.append(_syntax_flaw(problem, text))
        return tree
    if node is not None:
        tree.value = _Grower(tree, yaml).grow(node, ())
    return tree


def _syntax_flaw(problem: Exception, text: str) -> Flaw:
    """Where and why the text is not YAML."""
    spot = _spot_of_problem(problem, text)
    message, hint = _syntax_words(problem, text, spot)
    return Flaw(printable(message), spot.line, spot.column, hint, "spec.yaml")


def _syntax_words(problem: Exception, text: str, spot: Spot) -> tuple[str, str]:
    what = ""
    if isinstance(problem, MarkedYAMLError):
        what = ": ".join(part for part in (problem.context, problem.problem) if part)
    lines = text.splitlines()
    line = lines[spot.line - 1] if spot.line <= len(lines) else ""
    margin = line[: len(line) - len(line.lstrip())]
    if "\t" in margin and spot.column <= len(margin) + 1:
        return "a tab indents this line: YAML wants spaces", "Use two spaces."
    if isinstance(problem, ReaderError):
        where = problem.position
        return f"the character {quoted(text[where : where + 1])} may not stand in a YAML file", "Remove it."
    if isinstance(problem, RecursionError) or "maximum depth" in what:
        return f"nested deeper than {MAX_DEPTH} levels", ""
    if "another document" in what:
        return "a second document begins here", "One file declares one environment: remove the --- line."
    hint = next((hint for words, hint in _YAML_HINTS.items() if words in what), "")
    reason = what.replace("'<stream end>'", "the end of the file") or "a value or directive that cannot be read"
    return f"not valid YAML: {reason}", hint


def _spot_of_problem(problem: Exception, text: str) -> Spot:
    mark = getattr(problem, "problem_mark", None) or getattr(problem, "context_mark", None)
    if isinstance(mark, StringMark):
        return Spot(mark.line + 1, mark.column + 1)
    if isinstance(problem, ReaderError):
        before = text[: problem.position]
        return Spot(before.count("\n") + 1, problem.position - (before.rfind("\n") + 1) + 1)
    return _last_token(text)


def _last_token(text: str) -> Spot:
    """How far the text can be cut into tokens; for failures of the parser that name no place."""
    spot = Spot(1, 1)
    try:
        for token in YAML(typ="safe", pure=True).scan(text):
            spot = Spot(token.end_mark.line + 1, token.end_mark.column + 1)
    except Exception:  # the same one
        pass
    return spot


class _Grower:
    """Turns composed nodes into plain values, noting places; bounded in depth and number."""

    def __init__(self, tree: Tree, yaml: Any) -> None:
        self.tree = tree
        self.yaml = yaml
        self.left = MAX_VALUES

    def grow(self, node: Node, path: Path) -> Any:
        """The value of `node`, which stands at `path`."""
        spot = Spot(node.start_mark.line + 1, node.start_mark.column + 1)
        if not (isinstance(node, ScalarNode) and node.value == "" and node.style is None):
            self.tree.values[path] = spot
        self.left -= 1
        if self.left < 0 or len(path) > MAX_DEPTH:  # only aliases can get here by depth
            if self.left >= -1:
                self._note(spot, f"more than {MAX_VALUES} values, or aliases that hold themselves")
                self.left = -1
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.grow(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path, spot)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        grown: dict[str, Any] = {}
        for key_node, value_node in node.value:
            spot = Spot(key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key_node, ScalarNode):
                whole = self.tree.value_spot(path)
                self._note(whole, f"{path_text(path) or 'the file'} has a key that is not a word", _UNQUOTED)
                continue
            key = key_node.value
            here = (*path, key)
            if key in grown:
                first = self.tree.keys[here]
                message = f"{path_text(here)} is declared twice, first in line {first.line}"
                self._note(spot, message, "Keep one of the two.", "spec.duplicate")
                continue
            self.tree.keys[here] = spot
            grown[key] = self.grow(value_node, here)
        return grown

    def _scalar(self, node: Node, path: Path, spot: Spot) -> Any:
        tag = str(node.tag)
        text = str(node.value)
        name = path_text(path) or "the file"
        if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
            self._note(spot, f"{name} holds a character that no text may hold", "Remove it.")
            return ""
        if tag in _TEXT_TAGS:
            return text
        if tag not in _VALUE_TAGS:
            self._note(spot, f"{name} has a tag that is not used here: {quoted(tag)}", _UNTAGGED)
            return text
        try:
            value = self.yaml.constructor.construct_object(node)
        except Exception:  # a value that its explicit tag does not allow, or a number of thousands of digits
            value = math.nan
        if isinstance(value, int | float) and not -(2**53) <= value <= 2**53:  # also catches nan
            self._note(spot, f"{name} is {quoted(text)}; no such number can be used here", "Write a smaller one.")
            return 0
        return value

    def _note(self, spot: Spot, message: str, hint: str = "", code: str = "spec.yaml") -> None:
        self.tree.flaws.append(self.tree.flaw(spot, message, hint, code))
