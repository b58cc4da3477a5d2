"""How much a node may use: sizes as they are written, and what is said of those that cannot be meant."""

import pytest

from everup.kinds import load_kinds
from everup.model.errors import SpecError
from everup.model.resources import MEBIBYTE, Resources, size_text
from everup.model.spec import Service
from everup.specfile.parse import parse

HEAD = "environment: shop\nservices:\n  web:\n    kind: {kind}\n    "
MORE = {"redis": "", "postgres": "", "app": "    run: serve\n", "worker": "    run: send\n"}


def read(line: str, kind: str = "app") -> Service:
    """The service with that line in its declaration."""
    text = HEAD.format(kind=kind) + line + "\n" + MORE[kind]
    return parse(text, "everup.yaml", load_kinds()).services["web"]


@pytest.mark.parametrize("kind", sorted(MORE))
def test_every_kind_takes_them(kind: str):
    assert read("memory: 512Mi", kind).resources == Resources(512 * MEBIBYTE, None)
    assert read("cpus: 0.5", kind).resources == Resources(None, 0.5)
    assert read("needs: []", kind).resources is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [("512Mi", 512), ("2Gi", 2048), ("1.5Gi", 1536), ('"64Mi"', 64), (str(64 * MEBIBYTE), 64), ("16384Gi", 1 << 24)],
)
def test_sizes_are_read_in_bytes(written: str, meant: int):
    assert read(f"memory: {written}").memory == meant * MEBIBYTE


@pytest.mark.parametrize(("written", "meant"), [("2", 2.0), ("0.01", 0.01), ("1.5", 1.5)])
def test_processors_are_counted_in_parts_too(written: str, meant: float):
    assert read(f"cpus: {written}").cpus == meant


@pytest.mark.parametrize(
    ("kind", "line", "reason", "instead"),
    [
        ("app", "memory: 512MB", "must be a size such as 512Mi or 2Gi", "Write 512Mi."),
        ("app", "memory: 512m", "must be a size", "Write 512Mi."),
        ("app", "memory: 1.5 G", "must be a size", "Write 1.5Gi."),
        ("app", "memory: 2GiB", "must be a size", "Write 2Gi."),
        ("app", "memory: plenty", "must be a size", "how much memory"),
        ("app", f"memory: {'9' * 400}Gi", "must be a size", ""),
        ("app", f"memory: {'9' * 12}Gi", "at most 16384 GiB", ""),
        ("app", "memory: 0.5", "must be a size", "how much memory"),
        ("app", "memory: true", "must be a size", "how much memory"),
        ("app", "memory: 512", "must be 32 MiB or more", "with its unit: 512Mi"),
        ("app", "memory: 31Mi", "must be 32 MiB or more", ""),
        ("app", "memory: 16385Gi", "at most 16384 GiB", ""),
        ("redis", "memory: 63Mi", "must be 64 MiB or more", ""),
        ("postgres", "memory: 255Mi", "must be 256 MiB or more", ""),
    ],
)
def test_a_size_that_cannot_be_meant_is_refused_at_its_place(kind: str, line: str, reason: str, instead: str):
    with pytest.raises(SpecError) as caught:
        read(line, kind)
    (flaw,) = caught.value.flaws
    assert reason in flaw.message and instead in flaw.hint
    assert (flaw.line, flaw.column) == (5, 13)


@pytest.mark.parametrize("written", ["0", "-1", "0.001", "1025", '"0.5"', "500m", "true", "[1]"])
def test_processors_that_cannot_be_meant_are_refused_at_their_place(written: str):
    with pytest.raises(SpecError) as caught:
        read(f"cpus: {written}")
    (flaw,) = caught.value.flaws
    assert flaw.message.startswith("services.web.cpus")
    assert (flaw.line, flaw.column) == (5, 11)


@pytest.mark.parametrize(("typo", "meant"), [("memroy", "memory"), ("cpu", "cpus")])
def test_a_near_miss_is_named(typo: str, meant: str):
    with pytest.raises(SpecError) as caught:
        read(f"{typo}: 1")
    (flaw,) = caught.value.flaws
    assert f"Did you mean {meant}?" in flaw.hint


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (512, "512 MiB"),
        (2048, "2 GiB"),
        (1536, "1.5 GiB"),
        (1280, "1.25 GiB"),
        (1300, "1300 MiB"),
        (100.5, "100.5 MiB"),
    ],
)
def test_sizes_are_written_as_people_write_them(count: float, text: str):
    assert size_text(int(count * MEBIBYTE)) == text


def test_what_a_node_may_use_reads_as_a_sentence():
    assert str(Resources(512 * MEBIBYTE, 0.5)) == "512 MiB of memory and 0.5 processors"
    assert str(Resources(cpus=1.0)) == "1 processor"
    assert str(Resources(2048 * MEBIBYTE)) == "2 GiB of memory"
