"""One mapping of the file against one pydantic model: every flaw in the user's words, with its place."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from everup.core.meant import did_you_mean, nearest
from everup.model.errors import Flaw
from everup.specfile import wording
from everup.specfile.tree import Tree
from everup.specfile.wording import Path, path_text, shown

Model = TypeVar("Model", bound=BaseModel)


def read_fields(model: type[Model], value: Mapping[str, Any], at: Path, tree: Tree, what: str) -> Model | list[Flaw]:
    """Validate `value`, which stands at `at`, as a `model`.

    Args:
        what: what the value is called in a sentence: "the file", "kind redis".

    Returns:
        The model, or all its flaws. An unknown key does not hide a flaw of the known ones.
    """
    try:
        return model.model_validate(value)
    except ValidationError as problem:
        errors = problem.errors(include_url=False)
    unknown = [_path_of(error, value) for error in errors if error["type"] == "extra_forbidden"]
    if unknown:
        try:
            model.model_validate(_without(value, unknown))
            errors = [error for error in errors if error["type"] == "extra_forbidden"]
        except ValidationError as problem:
            errors = [error for error in errors if error["type"] == "extra_forbidden"]
            errors += problem.errors(include_url=False)
    return list(_flaws(model, value, errors, _Setting(at, tree, what)))


def fields_at(model: type[BaseModel], path: Path) -> dict[str, FieldInfo]:
    """The keys that a model accepts at `path` within it, in order; empty where it accepts any."""
    candidates: list[type[BaseModel]] = [model]
    any_key = False
    for part in path:
        if any_key:
            any_key = False
            continue
        fields = {name: field for candidate in candidates for name, field in candidate.model_fields.items()}
        field = fields.get(str(part))
        candidates = list(_models_in(field.annotation)) if field else []
        any_key = field is not None and get_origin(field.annotation) is dict
    return (
        {}
        if any_key
        else {field.alias or name: field for candidate in candidates for name, field in candidate.model_fields.items()}
    )


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


class _Setting:
    """Where a mapping stands and what it is called."""

    def __init__(self, at: Path, tree: Tree, what: str) -> None:
        self.at = at
        self.tree = tree
        self.what = what

    def name(self, path: Path) -> str:
        """How a sentence names what stands at `path` within the mapping."""
        return path_text((*self.at, *path)) or "the file"

    def flaw(self, path: Path, message: str, hint: str = "", code: str = "spec.invalid", *near: str) -> Flaw:
        """A flaw of the value at `path` within the mapping."""
        return self.tree.flaw(self.tree.value_spot((*self.at, *path)), message, hint, code, *near)

    def unread(self, path: Path) -> bool:
        """What stands at `path` could not even be read, which has its own flaw."""
        spot = self.tree.value_spot((*self.at, *path))
        return any(
            flaw.code == "spec.yaml" and (flaw.line, flaw.column) == (spot.line, spot.column)
            for flaw in self.tree.flaws
        )

    def key_flaw(self, path: Path, message: str, hint: str = "", code: str = "spec.invalid", *near: str) -> Flaw:
        """A flaw of the key at `path` within the mapping."""
        return self.tree.flaw(self.tree.key_spot((*self.at, *path)), message, hint, code, *near)


def _path_of(error: Any, value: Any) -> Path:
    """Where an error of pydantic's is, without the names of union members and the like, which no file holds."""
    *around, last = error["loc"] or ("",)
    path: list[str | int] = []
    for part in (*around, last):
        in_mapping = isinstance(value, dict) and part in value
        if in_mapping or (isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value)):
            path.append(part)
            value = value[part]
    return (*path, last) if error["type"] == "missing" else tuple(path)


def _at(value: Any, path: Path) -> Any:
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
    return value


def _without(value: Mapping[str, Any], unknown: Iterable[Path]) -> dict[str, Any]:
    """A copy of `value` that lacks the keys at those paths."""
    names: dict[str, list[Path]] = {}
    for path in unknown:
        names.setdefault(str(path[0]), []).append(path[1:])
    copy = dict(value)
    for name, rests in names.items():
        if () in rests:
            del copy[name]
        elif isinstance(copy[name], dict):
            copy[name] = _without(copy[name], rests)
    return copy


def _flaws(model: type[BaseModel], value: Mapping[str, Any], errors: list[Any], setting: _Setting) -> Iterator[Flaw]:
    """Every flaw once: errors are grouped by place, since each member of a union reports its own."""
    places: dict[Path, list[Any]] = {}
    for error in errors:
        places.setdefault(_path_of(error, value), []).append(error)
    unknown = {path for path, here in places.items() if any(e["type"] == "extra_forbidden" for e in here)}
    around = {path[:length] for path in places for length in range(len(path))}
    for path, here in places.items():
        about_type = [error for error in here if wording.is_about_type(error["type"])]
        others = [error for error in here if not wording.is_about_type(error["type"])]
        if path in unknown:
            yield _unknown_key(model, path, setting)
        elif any(error["type"] == "missing" for error in here):
            meant = any(u[:-1] == path[:-1] and nearest(str(u[-1]), [str(path[-1])]) for u in unknown)
            if not meant and not setting.unread(path[:-1]):
                yield _missing(model, path, setting)
        elif others:
            for text, hint in dict.fromkeys(wording.sentence(error) for error in others):
                yield _wrong_value(path, value, text, hint or _describe(model, path), setting)
        elif path not in around:  # a wrong type, unless another member of the union read further
            yield _wrong_type(model, path, _at(value, path), about_type, setting)


def _unknown_key(model: type[BaseModel], path: Path, setting: _Setting) -> Flaw:
    accepted = tuple(fields_at(model, path[:-1]))
    where = setting.what if len(path) == 1 else setting.name(path[:-1])
    hint = did_you_mean(str(path[-1]), accepted, f"Keys of {where}")
    return setting.key_flaw(path, f"{setting.name(path)} is not a key of {where}", hint, "spec.unknown_key", *accepted)


def _missing(model: type[BaseModel], path: Path, setting: _Setting) -> Flaw:
    message = f"{setting.name(path)} is missing: {setting.what if len(path) == 1 else setting.name(path[:-1])} needs it"
    return setting.key_flaw(path[:-1], message, _describe(model, path), "spec.missing")


def _wrong_type(model: type[BaseModel], path: Path, value: Any, errors: list[Any], setting: _Setting) -> Flaw:
    wants = list(dict.fromkeys(wording.want(error) for error in errors))
    keys = ", ".join(fields_at(model, path))
    readable = [f"a mapping of {keys}" if w == "a mapping (key: value)" and keys else w for w in wants]
    message = f"{setting.name(path)} is {shown(value)}: must be {wording.either(readable)}"
    hint = wording.type_hint(value, wants)
    choices = [word for error in errors if error["type"] == "literal_error" for word in wording.want(error).split()]
    accepted = tuple(word.rstrip(",") for word in choices if word != "or")
    if accepted and isinstance(value, str) and (near := nearest(value, accepted)):
        hint = f"Did you mean {near}?"
    return setting.flaw(path, message, hint or _describe(model, path), "spec.invalid", *accepted)


def _wrong_value(path: Path, value: Any, text: str, hint: str, setting: _Setting) -> Flaw:
    found = _at(value, path)
    if isinstance(found, dict):  # a validator of the whole mapping: point at the first key that its sentence names
        named = next((word for word in re.findall(r"\w+", text) if word in found), None)
        if named:
            path, found = (*path, named), found[named]
    if isinstance(found, dict | list):
        return setting.flaw(path, f"{setting.name(path)}: {text}", hint)
    return setting.flaw(path, f"{setting.name(path)} is {shown(found)}: {text}", hint)


def _describe(model: type[BaseModel], path: Path) -> str:
    """What the field at `path` is for, from its description."""
    names = [part for part in path if isinstance(part, str)]
    field = fields_at(model, tuple(names[:-1])).get(names[-1]) if names else None
    return field.description or "" if field else ""
