"""How fast a published model reads and writes words here, and how fast it would write on other machines.

A token is timed as a person waits for it: what N + 1 of them take more than one, over N, the host included. What is
read is a prompt of random words. B rows, T tokens of a prompt, N tokens that are written.
"""

import functools
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .. import on
from ..files import pretrained
from ..text.generate import Generator, Options
from ..text.prompt import prompt
from . import counts, machine
from .forecast import macs
from .measure import Show, silent

WORDS = 8  # tokens that a counted step has behind it


def measured(
    loaded: pretrained.Pretrained, batch: int, length: int, count: int, compiled: bool = False, show: Show = silent
) -> dict[str, Any]:
    """Rates of reading `length` tokens and of writing `count` more, in `batch` rows, with what they are made of.

    read_tokens_s and write_tokens_s (of all rows), token_ms, first_ms (of the very first answer, which records or
    compiles), parameters and bytes of the model, share (of the time in which the weights alone could be read, at the
    rate of a copy measured in the same run), kernels of a token, memory in bytes.
    """
    package, engine = loaded.package, loaded.package.engine
    generator = Generator(package, loaded.model, compiled)
    vocab = loaded.config.decoder.vocab
    rows = np.random.default_rng(0).integers(0, vocab, (batch, length)).tolist()
    given = prompt(rows, grids=() if loaded.config.decoder.rope.sections else None)

    def seconds(tokens: int) -> float:
        generator.forget()
        begun = time.perf_counter()
        generator.tokens(given, None, Options(tokens))
        return time.perf_counter() - begun

    first = seconds(count + 1)
    generator.settle()
    times = [(seconds(1), seconds(count + 1)) for _ in show("words", range(3))]
    one, whole = (min(column) for column in zip(*times, strict=True))
    token = max(whole - one, 1e-9) / count
    arrays = package.nn.parameters(loaded.model)
    size = sum(x.nbytes for x in arrays.values())
    ops = step(package, loaded.model)
    copy = machine.copy(engine)
    return {
        "read_tokens_s": batch * length / one,
        "write_tokens_s": batch / token,
        "token_ms": 1e3 * token,
        "first_ms": 1e3 * first,
        "parameters": parameters(package, loaded.model),
        "bytes": size,
        "share": size / (1e9 * copy) / token,
        "copy_gbs": copy,
        "counts": counts.summary(ops),
        "memory": engine.memory(),
    }


def parameters(package: ModuleType, model: Any) -> dict[str, int]:
    """How many numbers each part of a model has, quantised ones as their bytes hold them."""
    sizes: dict[str, int] = {}
    for name, x in package.nn.parameters(model).items():
        part = name.partition(".")[0]
        sizes[part] = sizes.get(part, 0) + int(np.prod(x.shape))
    return sizes


def step(package: ModuleType, model: Any) -> list[counts.Operation]:
    """The operations of one token of one row, in which the likeliest is chosen."""
    engine, nn, sections = package.engine, package.nn, model.cfg.decoder.rope.sections
    given = prompt([list(range(WORDS))], grids=() if sections else None)
    with engine.inference():
        _, state = model.prefill(engine.array(given), None, (), 4 * WORDS)
    weights = nn.parameters(model)

    def greedy(weights, state, ids):  # weights as arguments: how they came to be is no part of a token
        nn.assign(model, weights)
        return model.greedy(state, ids)

    ops = counts.operations(package, greedy, weights, state, engine.array(np.zeros(1, np.int32)))
    nn.assign(model, weights)
    return ops


def forecast(folder: Path, weights: str | None = None) -> list[dict[str, Any]]:
    """Tokens a second of one row on Macs, as `forecast.macs` gives them. Of the folder only config.json is read."""

    @functools.cache
    def operations(backend: str, precision: str) -> np.ndarray:
        package = on(backend)
        model = pretrained.untrained(folder, package, precision, weights)
        return np.array(counts.histogram(counts.fused(step(package, model))))

    return macs(operations)
