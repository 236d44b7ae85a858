"""How large a model may become while it is built: a configuration from elsewhere may ask for any size.

Shared by the layers of both backends. Knows nothing of either framework.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from .errors import MlxworldError, one_line

_here = threading.local()


@contextlib.contextmanager
def limit(modules: int, numbers: int) -> Iterator[None]:
    """While it lasts, building more than so many modules, or parameters of more than so many numbers in all, raises
    MlxworldError, and so does an array of a size that nothing has room for."""
    outer = getattr(_here, "left", None)
    _here.left = {"modules": modules, "numbers": numbers}
    try:
        yield
    except (OverflowError, MemoryError, RuntimeError) as error:
        raise MlxworldError(f"the configuration has sizes that no array can have: {one_line(str(error))}") from error
    finally:
        _here.left = outer


def count_module() -> None:
    """A module is being made."""
    _spend("modules", 1)


def count_numbers(sizes: Iterable[int]) -> None:
    """Parameters of these sizes become part of a model."""
    _spend("numbers", sum(sizes))


def _spend(what: str, n: int) -> None:
    left = getattr(_here, "left", None)
    if left is not None:
        left[what] -= n
        if left[what] < 0:
            most = "the weights of this model have, or any machine has room for"
            raise MlxworldError(f"the configuration asks for more {what} than {most}")


def refuse_hidden_modules(owner: Any, name: str, value: Any, kind: type) -> None:
    """Raises TypeError for modules in a tuple or dict, which one backend or the other would not see: use a list."""
    children = value.values() if type(value) is dict else value if isinstance(value, tuple) else ()
    if any(isinstance(child, kind) for child in children):
        raise TypeError(f"{type(owner).__name__}.{name}: a {type(value).__name__} of modules; a list holds children")
