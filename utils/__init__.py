"""What surrounds the networks, in wings; README.md, "Where things are", says what lives in each."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def exports(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Returns `__getattr__`, `__dir__` and `__all__` of a package that imports a name when it is asked for.

    Args:
        package: `__name__` of the package; "" for modules at the root of a clone.
        names: exported name -> module of the package that defines it, such as {"Gallery": "gallery"}.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{names[name]}".lstrip(".")), name)

    return get, lambda: sorted(names), sorted(names)
