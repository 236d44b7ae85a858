"""Both packages have exactly what the protocol documents: the same names, parameters and defaults."""

import inspect

import pytest

import mlxworld
from mlxworld import protocol

PARTS = [("nn", protocol.Nn), ("ops", protocol.Ops), ("random", protocol.Random), ("engine", protocol.Engine)]
BOTH = [(name, part, kind) for name in mlxworld.BACKENDS for part, kind in PARTS]


def names(kind: type) -> set[str]:
    return {name for name in {**vars(kind), **kind.__annotations__} if not name.startswith("_")}


def public(module) -> set[str]:
    """What a module says it has, or else the functions and classes that are written in it."""
    here = (n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__ and callable(v))
    return set(getattr(module, "__all__", None) or (n for n in here if not n.startswith("_")))


@pytest.mark.parametrize(("backend", "part", "kind"), BOTH)
def test_the_names_are_the_protocols(backend, part, kind):
    module = getattr(mlxworld.on(backend), part)
    assert public(module) <= names(kind), "not in mlxworld/protocol.py"
    assert all(hasattr(module, name) for name in names(kind)), "in mlxworld/protocol.py alone"


def agree(documented, found) -> None:
    """A function takes what its documentation says: named parameters by name and default, others by position."""
    asked = [p for p in inspect.signature(documented).parameters.values() if p.name != "self"]
    if all(p.kind is p.POSITIONAL_ONLY for p in asked):
        return  # built-in functions tell no signature; tests/test_ops.py calls each
    given = {n: p for n, p in inspect.signature(found).parameters.items() if n != "self"}
    unnamed = [p for p in asked if p.kind is p.POSITIONAL_ONLY]
    assert all(p.default is p.empty for p in list(given.values())[: len(unnamed)])
    named = {p.name: p.default for p in asked if p not in unnamed and p.kind is not p.VAR_POSITIONAL}
    assert {n: given[n].default if n in given else "absent" for n in named} == named
    extra = [p for p in list(given.values())[len(unnamed) :] if p.name not in named]
    assert all(p.default is not p.empty or p.kind is p.VAR_POSITIONAL for p in extra)


@pytest.mark.parametrize(("backend", "part", "kind"), BOTH)
def test_the_parameters_are_the_protocols(backend, part, kind):
    module = getattr(mlxworld.on(backend), part)
    for name, documented in vars(kind).items():
        if inspect.isfunction(documented) and not name.startswith("_"):
            agree(documented, getattr(module, name))


@pytest.mark.parametrize("backend", mlxworld.BACKENDS)
def test_the_loops_methods_are_the_protocols(backend):
    loop = mlxworld.on(backend).engine.Loop
    assert names(protocol.Loop) == {n for n in dir(loop) if not n.startswith("_")}
    for name in ("begin", "state", "restore", "fork", "settle"):
        agree(getattr(protocol.Loop, name), getattr(loop, name))


@pytest.mark.parametrize("backend", mlxworld.BACKENDS)
def test_the_trainers_methods_are_the_protocols(backend):
    trainer = mlxworld.on(backend).engine.Trainer
    assert names(protocol.Trainer) - {"ema"} <= {n for n in vars(trainer) if not n.startswith("_")}
    for name in ("step", "state", "load_state"):
        agree(getattr(protocol.Trainer, name), getattr(trainer, name))
