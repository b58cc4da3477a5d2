"""The benchmarks, which nobody runs every day, can be started."""

import importlib
import pkgutil

import pytest

import benchmarks


@pytest.mark.parametrize("name", [one.name for one in pkgutil.iter_modules(benchmarks.__path__)])
def test_all_that_a_benchmark_imports_is_there(name: str):
    assert importlib.import_module(f"benchmarks.{name}").__doc__
