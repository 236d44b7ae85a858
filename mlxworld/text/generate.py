"""Continuations of prompts: the loop around a model that reads rows of ids and then goes on a token at a time.

Rows of a batch may differ in length, and end each for itself. One step of fixed shapes is compiled once, by the
backend's `Loop`; where the likeliest token is chosen anyway, it is chosen on the device, and the host reads it while
the next is computed. Knows nothing of tokenizers.

B rows, T tokens, V words.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import MlxworldError
from .beams import BeamConfig, Beams
from .choose import Choice, choose, penalised
from .prompt import Arrays, cut, extended

CHUNK = 32  # tokens that are read at once where others were read before
SPARE = CHUNK  # tokens that a state holds more: a chunk's rest, and a CUDA graph is recorded by running a few steps
BLOCK = 256  # tokens: caches are a multiple of it, so that prompts of similar lengths share one compiled step


@dataclass(frozen=True)
class Options:
    most: int = 256  # tokens of a continuation
    ends: tuple[int, ...] = ()  # tokens that end one
    choice: Choice = field(default_factory=Choice)
    beams: BeamConfig = field(default_factory=BeamConfig)

    def __post_init__(self):
        if self.most < 1:
            raise MlxworldError("a continuation has at least one token")


@dataclass(frozen=True)
class Pictures:
    """What a model's tower is given: arrays by name, and the plain numbers that fix their shapes."""

    arrays: Arrays | None = None
    layout: Any = ()


class Generator:
    def __init__(self, package: ModuleType, model: Any, compile: bool = False):  # noqa: A002
        """model: placed and cast, of the backend `package`. compile: its step, in the background."""
        self.package, self.engine, self.model = package, package.engine, model
        self._compile, self._loops = compile, {}
        self._past: _Walk | None = None  # the last one of a single row, as long as its state is there
        self._hooks: list[Any] = []  # latent hooks that the loops were made with

    def forget(self) -> None:
        """The next prompt is read from its beginning, whatever was read before."""
        self._past = None

    def settle(self) -> None:
        """Waits for compilers."""
        for loop in self._loops.values():
            loop.settle()

    def logits(self, prompt: Arrays, pictures: Pictures | None = None) -> np.ndarray:
        """Of all tokens of a prompt, (B, T, V) float32."""
        with self.engine.inference():
            return self.engine.numpy(self.model(*self._given(prompt, pictures))).astype(np.float32)

    def stream(
        self, prompt: Arrays, pictures: Pictures | None = None, options: Options | None = None
    ) -> Iterator[np.ndarray]:
        """The next token of each row (B,), again and again; -1 for a row that has ended, whose end came before."""
        options = options or Options()
        if options.beams.beams > 1:
            raise MlxworldError("beams have no stream: the best one is known at the end")
        ended = np.zeros(len(prompt["ids"]), bool)
        for count, tokens in enumerate(self._tokens(prompt, pictures, options), 1):
            yield np.where(ended, -1, tokens)
            ended |= np.isin(tokens, options.ends)
            if ended.all() or count == options.most:
                return

    def tokens(
        self, prompt: Arrays, pictures: Pictures | None = None, options: Options | None = None
    ) -> list[list[int]]:
        """The continuation of each row, its end token included."""
        options = options or Options()
        if options.beams.beams > 1:
            return [row[0][1] for row in self.beams(prompt, pictures, options)]
        rows: list[list[int]] = [[] for _ in prompt["ids"]]
        for tokens in self.stream(prompt, pictures, options):
            for row, token in zip(rows, tokens, strict=True):
                row += [int(token)] if token >= 0 else []
        return rows

    def beams(self, prompt: Arrays, pictures: Pictures | None, options: Options) -> list[list[tuple[float, list[int]]]]:
        """The best continuations of each row with their scores, best first (beam search)."""
        self._notice_hooks()
        K = options.beams.beams
        prompt = {name: np.repeat(x, K, axis=0) for name, x in prompt.items()}
        search = Beams(options.beams, len(prompt["ids"]) // K, options.ends, options.most)
        words, walk = _words(prompt), _Walk(self, prompt, pictures, options.most)
        self._past, logits = None, walk.begin()
        while True:
            tails = [tail for row in search.tokens for tail in row]
            before = [[*row, *tail] for row, tail in zip(words, tails, strict=True)]
            scores = penalised(_log_softmax(logits), before, options.choice)
            parents, tokens = search.advance(scores)
            if search.done:
                return search.best()
            logits = walk.go_on(tokens, parents)

    def _tokens(self, prompt, pictures, options):
        """Endless tokens (B,) by `options.choice`."""
        words, random = _words(prompt), np.random.default_rng(options.choice.seed)
        walk, logits = self._begun(prompt, pictures, options.most)
        while True:
            tokens = choose(logits, words, options.choice, random)
            for row, token in zip(words, tokens, strict=True):
                row.append(int(token))
            yield tokens
            if options.choice.plain and not walk.turns:
                yield from walk.likeliest(tokens)
            logits = walk.go_on(tokens)

    def _notice_hooks(self):
        """What other hooks than the model's of today have read or compiled is left."""
        hooked = self.model.hooked() if hasattr(self.model, "hooked") else None
        hooks = list(getattr(hooked, "hooks", []))
        if [id(hook) for hook in hooks] != [id(hook) for hook in self._hooks]:
            self._hooks, self._past = hooks, None
            self._loops.clear()

    def _begun(self, prompt, pictures, most):
        """A walk that has read a prompt, and its logits. What the walk before has read is not read again."""
        self._notice_hooks()
        walk, self._past = self._past, None
        slots = 0
        if walk is not None and (begin := walk.shared(prompt, pictures)) > 0:
            if walk.holds(prompt, most):
                self._past = walk
                return walk, walk.resume(prompt, begin)
            slots = 2 * walk.slots  # a talk that grows
        walk = _Walk(self, prompt, pictures, most, slots)
        logits = walk.begin()
        self._past = walk if len(prompt["ids"]) == 1 else None
        return walk, logits

    def _given(self, prompt, pictures):
        pictures = pictures or Pictures()
        seen = None if pictures.arrays is None else self.engine.array(pictures.arrays)
        return self.engine.array(prompt), seen, pictures.layout

    def _prefill(self, prompt, pictures, slots):
        with self.engine.inference():
            return self.model.prefill(*self._given(prompt, pictures), slots)

    def _loop(self, state):
        """The loop of a state's shapes; the last few are kept."""
        shapes = str(_shapes(state))
        if shapes not in self._loops:
            if len(self._loops) == 4:
                del self._loops[next(iter(self._loops))]
            functions = {
                "step": self._step,
                "likeliest": self._likeliest,
                "reorder": self._reorder,
                "extend": self._extend,
            }  # of (state, input)
            self._loops[shapes] = self.engine.Loop(functions, compile="likeliest" if self._compile else None)
        loop = self._loops[shapes]
        loop.begin(state)
        return loop

    def _step(self, state, ids):
        logits, state = self.model.step(state, ids)
        return (logits,), state

    def _likeliest(self, state, ids):
        ids, state = self.model.greedy(state, ids)
        return (ids,), state

    def _extend(self, state, begin, ids, count):
        logits, state = self.model.extend(state, begin, ids, count)
        return (logits,), state

    def _reorder(self, state, rows):
        return (rows * 1,), self.model.reordered(state, rows)


class _Walk:
    """One prompt, and its rows' way through the model: `begin`, then `go_on` with the chosen tokens. A later prompt of
    one row that begins alike may `resume` it."""

    def __init__(
        self, generator: Generator, prompt: Arrays, pictures: Pictures | None, most: int, least_slots: int = 0
    ):
        self.generator, self.prompt, self.pictures = generator, prompt, pictures or Pictures()
        c, T = generator.model.cfg.decoder, prompt["ids"].shape[1]
        self.slots = max(least_slots, -(-(T + most + SPARE) // BLOCK) * BLOCK)
        self.window = min(c.window, self.slots) if "sliding" in c.layers else self.slots
        self.long, self.trained = bool(c.rope.long_factors), c.rope.trained_length
        self.turns = self.long and T <= self.trained < T + most  # LongRoPE's other factors: all is read anew then
        self.tokens = np.zeros((len(prompt["ids"]), 0), np.int32)  # what followed the prompt

    def begin(self) -> np.ndarray:
        """Reads the prompt -> logits (B, V)."""
        engine = self.generator.engine
        logits, state = self.generator._prefill(self.prompt, self.pictures, self.slots)
        self.loop = self.generator._loop(state)
        return engine.numpy(logits).astype(np.float32)

    def shared(self, prompt: Arrays, pictures: Pictures | None) -> int:
        """How many tokens at the beginning of another prompt this walk has read; 0 where less than half, or where
        anything but words follows."""
        if len(prompt["ids"]) > 1 or not _same_pictures(self.pictures, pictures or Pictures()):
            return 0
        read, ids = extended(self.prompt, self.tokens[:, :-1]), prompt["ids"]  # the last is not read for sure
        n = min(read["ids"].shape[1], ids.shape[1] - 1)
        alike = read["ids"][0, :n] == ids[0, :n]
        begin = n if alike.all() else int(alike.argmin())
        expected = extended(cut(read, begin), ids[:, begin:])
        same = all(np.array_equal(x, expected[name]) for name, x in prompt.items())
        return begin if same and 2 * begin >= ids.shape[1] else 0

    def holds(self, prompt: Arrays, most: int) -> bool:
        """Whether its state has room for a prompt and what follows it, with windows that were never full."""
        T = prompt["ids"].shape[1]
        read = self.prompt["ids"].shape[1] + self.tokens.shape[1] + 1  # one step may have run ahead
        beyond = self.long and T + most + SPARE > self.trained
        return T + most + SPARE <= self.slots and max(read, T + SPARE) <= self.window and not beyond

    def resume(self, prompt: Arrays, begin: int) -> np.ndarray:
        """Reads what comes after the first `begin` tokens of a prompt, which it has read -> logits (1, V)."""
        engine, ids, T = self.generator.engine, prompt["ids"], prompt["ids"].shape[1]
        self.prompt, self.tokens, logits = prompt, self.tokens[:, :0], None
        with engine.inference():
            for first in range(begin, T, CHUNK):
                chunk = ids[:, first : first + CHUNK]
                padded = np.pad(chunk, ((0, 0), (0, CHUNK - chunk.shape[1])))
                at, count = (np.array([n], np.int32) for n in (first, chunk.shape[1]))
                (logits,) = self.loop("extend", *engine.array([at, padded, count]))
            return engine.fetch(logits)().astype(np.float32)

    def go_on(self, tokens: np.ndarray, parents: np.ndarray | None = None) -> np.ndarray:
        """The next token of each row (B,), after those of rows `parents` -> logits (B, V)."""
        engine = self.generator.engine
        past = self.tokens if parents is None else self.tokens[parents]
        self.tokens = np.concatenate([past, tokens[:, None]], axis=1)
        if self.turns and self.prompt["ids"].shape[1] + self.tokens.shape[1] == self.trained + 1:
            self.prompt = extended(self.prompt, self.tokens, parents)
            self.turns, self.tokens = False, self.tokens[:, :0]
            return self.begin()
        with engine.inference():
            if parents is not None:
                self.loop("reorder", engine.array(parents.astype(np.int32)))
            (logits,) = self.loop("step", engine.array(tokens))
            return engine.fetch(logits)().astype(np.float32)

    def likeliest(self, tokens: np.ndarray) -> Iterator[np.ndarray]:
        """Endless tokens after these (B,), each the likeliest; one is computed while the last is read."""
        engine = self.generator.engine
        ids, read = engine.array(self._noted(tokens)), None
        while True:
            with engine.inference():
                (ids,) = self.loop("likeliest", ids)
                following = engine.fetch(ids)
            if read is not None:
                yield self._noted(read())
            read = following
            if not engine.runs_ahead():
                yield self._noted(read())
                read = None

    def _noted(self, tokens):
        self.tokens = np.concatenate([self.tokens, tokens[:, None]], axis=1)
        return tokens


def _same_pictures(a: Pictures, b: Pictures) -> bool:
    if a.arrays is None or b.arrays is None:
        return a.arrays is b.arrays
    same = a.layout == b.layout and a.arrays.keys() == b.arrays.keys()
    return same and all(np.array_equal(x, b.arrays[name]) for name, x in a.arrays.items())


def _words(prompt: Arrays) -> list[list[int]]:
    """The tokens of each row, without padding and pictures."""
    T = prompt["ids"].shape[1]
    real = (np.arange(T) >= prompt["pad"][:, None]) & (prompt["feature"] < 0)
    return [row[kept].tolist() for row, kept in zip(prompt["ids"], real, strict=True)]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    x = logits - logits.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def _shapes(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _shapes(x) for name, x in tree.items()}
    return [_shapes(x) for x in tree] if isinstance(tree, list | tuple) else (tuple(tree.shape), str(tree.dtype))
