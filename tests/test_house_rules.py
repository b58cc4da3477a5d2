"""The house rules of the code, as tests. The limits are ratchets: they may be tightened, never loosened."""

import ast
import re
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from everup.cli.main import COMMANDS, GROUPS
from everup.model.events import CATALOGUE

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "everup"

FILE_LINES = 400
MEDIAN_FILE_LINES = 160
FUNCTION_LINES = 50
CLASS_LINES = 250
CLASS_PUBLIC_METHODS = 12
PARAMETERS = 6
PROTOCOL_METHODS = 7
BANNED_WORDS = {"manager", "managers", "helper", "helpers", "util", "utils"}
BANNED_NAMES = {"data", "info"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def found(node_type: type | tuple[type, ...]) -> Iterator[tuple[Path, ast.AST]]:
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, node_type):
                yield path, node


def functions() -> Iterator[tuple[Path, Function]]:
    for path, node in found((ast.FunctionDef, ast.AsyncFunctionDef)):
        assert isinstance(node, Function)
        yield path, node


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    for path, node in found(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        yield path, node


def length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def methods(node: ast.ClassDef) -> list[Function]:
    return [item for item in node.body if isinstance(item, Function)]


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_file_is_longer_than_one_can_hold_in_mind():
    assert {str(path.relative_to(ROOT)): lines(path) for path in modules() if lines(path) > FILE_LINES} == {}


def test_half_of_the_files_are_short():
    assert statistics.median(lines(path) for path in modules() if lines(path) > 1) <= MEDIAN_FILE_LINES


def test_functions_are_short():
    long = {f"{where(path, node)} {node.name}": length(node) for path, node in functions()}
    assert {name: count for name, count in long.items() if count > FUNCTION_LINES} == {}


def test_functions_take_few_parameters():
    many = {}
    for path, node in functions():
        names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        if not is_command(node):
            many[f"{where(path, node)} {node.name}"] = len([name for name in names if name not in ("self", "cls")])
    assert {name: count for name, count in many.items() if count > PARAMETERS} == {}


def is_command(node: Function) -> bool:
    """A command of the CLI: its parameters are the options that a user may give."""
    decorated = any(
        re.search(r"\.(command|callback)\(", ast.unparse(decorator) + "(") for decorator in node.decorator_list
    )
    grouped = [command for *_, members in GROUPS.values() for command in members.values()]
    return decorated or node.name in {one.__name__ for ones in (*COMMANDS.values(), grouped) for one in ones}


def test_classes_are_small():
    large = {}
    for path, node in classes():
        public = [method.name for method in methods(node) if not method.name.startswith("_") and not is_field(method)]
        if length(node) > CLASS_LINES or len(public) > CLASS_PUBLIC_METHODS:
            large[f"{where(path, node)} {node.name}"] = (length(node), len(public))
    assert large == {}


def is_field(node: Function) -> bool:
    """A property: read like a field, and like a field not counted as a method."""
    return any(ast.unparse(decorator).endswith("property") for decorator in node.decorator_list)


def test_protocols_are_small():
    large = {
        f"{where(path, node)} {node.name}": len(methods(node))
        for path, node in classes()
        if any(ast.unparse(base).split("[")[0] in ("Protocol", "typing.Protocol") for base in node.bases)
        and len(methods(node)) > PROTOCOL_METHODS
    }
    assert large == {}


def test_every_module_and_public_name_says_what_it_is_for():
    silent = [where(path, tree(path)) for path in modules() if not ast.get_docstring(tree(path))]
    for path in modules():
        for node in tree(path).body:
            silent += [where(path, item) for item in public_definitions(node) if not ast.get_docstring(item)]
    assert silent == []


def public_definitions(node: ast.stmt) -> Iterator[Function | ast.ClassDef]:
    """The definition itself and, in a class, its public methods; private ones and overloads are left out."""
    if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
        return
    yield node
    for item in node.body if isinstance(node, ast.ClassDef) else []:
        decorators = [ast.unparse(decorator) for decorator in getattr(item, "decorator_list", [])]
        if not any(word.endswith(("overload", ".setter", "override")) for word in decorators):
            yield from public_definitions(item)


def defined_names(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Every name that a module gives to something: functions, classes, parameters, variables, fields."""
    dictated = {
        id(arg)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and node.name == "data_received"  # asyncio's own name for it
        for arg in node.args.args
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, Function | ast.ClassDef):
            yield node, node.name
        elif isinstance(node, ast.arg) and id(node) not in dictated:
            yield node, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node, node.attr


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name)}


def test_names_say_something():
    bad = [f"{path.relative_to(ROOT)}" for path in modules() if words(path.stem) & BANNED_WORDS]
    for path in modules():
        for node, name in defined_names(path):
            if words(name) & BANNED_WORDS or name in BANNED_NAMES or name.startswith("handle_"):
                bad.append(f"{where(path, node)} {name}")
    assert bad == []


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, known: set[str]) -> set[str]:
    """The modules of the package that a module imports, those for type checkers alone left out."""
    hidden = {
        id(inner)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & known
            names |= inner or {node.module}
    return names & known


def test_there_is_no_import_cycle():
    graph = {dotted(path): path for path in modules()}
    edges = {name: imports(path, set(graph)) - {name} for name, path in graph.items()}
    while leaves := {name for name, needed in edges.items() if not needed}:
        edges = {name: needed - leaves for name, needed in edges.items() if name not in leaves}
    assert edges == {}


def strings() -> Iterator[tuple[str, str]]:
    """Every string in the package with the place it stands at; the catalogue's own and error codes are left out."""
    for path in modules():
        codes = {
            id(node.value) for node in ast.walk(tree(path)) if isinstance(node, ast.keyword) and node.arg == "code"
        } | {
            id(node.value)
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "default_code"
        }
        for node in ast.walk(tree(path)) if path.name != "events.py" else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in codes:
                yield where(path, node), node.value


def test_every_event_in_the_catalogue_is_emitted_somewhere():
    assert set(CATALOGUE) - {text for _, text in strings()} == set()


def test_every_event_that_is_emitted_is_in_the_catalogue():
    families = {name.partition(".")[0] for name in CATALOGUE} - {"spec"}  # `spec.` also begins error codes
    shape = re.compile(rf"({'|'.join(sorted(families))})\.[a-z]+")
    unknown = [f"{place} {text}" for place, text in strings() if shape.fullmatch(text) and text not in CATALOGUE]
    for path, node in found(ast.Call):
        assert isinstance(node, ast.Call)
        first = node.args[0] if node.args else None
        if ast.unparse(node.func).split(".")[-1] in ("Event", "Milestone") and isinstance(first, ast.Constant):
            unknown += [f"{where(path, node)} {first.value}"] if first.value not in CATALOGUE else []
    assert unknown == []


@pytest.mark.parametrize("folder", sorted(path.name for path in (ROOT / "examples").glob("[0-9]*")))
def test_every_example_explains_itself_and_is_run_by_a_test(folder: str):
    assert (ROOT / "examples" / folder / "README.md").exists()
    assert f'"{folder}"' in (ROOT / "tests" / "test_examples.py").read_text()


def test_the_package_speaks_of_no_machine_of_its_makers():
    places = re.compile(r"/(root|home/\w+|work|Users)/")
    assert [f"{place} {text[:60]}" for place, text in strings() if places.search(text)] == []
