"""One file per kind of service. Existing is registering: `load_kinds` finds every module here that ends in `KIND`."""

import importlib
import pkgutil

from everup.model.contracts import Kind


def load_kinds() -> dict[str, Kind]:
    """Every kind there is, by name; modules whose names begin with `_` are shared parts of several."""
    found = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    kinds: list[Kind] = [importlib.import_module(f"{__name__}.{name}").KIND for name in found]
    return {kind.name: kind for kind in kinds}
