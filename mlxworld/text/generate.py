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
from .prompt import Arrays, extended

BLOCK = 256  # tokens: caches are a multiple of it, so that prompts of similar lengths share one compiled step


@dataclass(frozen=True)
class Options:
    most: int = 256  # tokens of a continuation
    ends: tuple[int, ...] = ()  # tokens that end one
    choice: Choice = field(default_factory=Choice)
    beams: BeamConfig = field(default_factory=BeamConfig)


@dataclass(frozen=True)
class Pictures:
    """What a model's tower is given: arrays by name, and the plain numbers that fix their shapes."""

    arrays: Arrays | None = None
    layout: Any = ()


class Generator:
    def __init__(self, package: ModuleType, model: Any, compile: bool = False):  # noqa: A002
        """model: placed and cast, of the backend `package`. compile: its step, in the background."""
        self.package, self.engine, self.model = package, package.engine, model
        self.rope, self._compile, self._loops = model.cfg.decoder.rope, compile, {}

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
        K = options.beams.beams
        prompt = {name: np.repeat(x, K, axis=0) for name, x in prompt.items()}
        search = Beams(options.beams, len(prompt["ids"]) // K, options.ends, options.most)
        words, walk = _words(prompt), _Walk(self, prompt, pictures, options.most)
        logits = walk.begin()
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
        walk, words = _Walk(self, prompt, pictures, options.most), _words(prompt)
        random = np.random.default_rng(options.choice.seed)
        logits = walk.begin()
        while True:
            tokens = choose(logits, words, options.choice, random)
            for row, token in zip(words, tokens, strict=True):
                row.append(int(token))
            yield tokens
            if options.choice.plain and not walk.turns:
                yield from walk.likeliest(tokens)
            logits = walk.go_on(tokens)

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

    def _reorder(self, state, rows):
        return (rows * 1,), self.model.reordered(state, rows)


class _Walk:
    """One prompt, and its rows' way through the model: `begin`, then `go_on` with the chosen tokens."""

    def __init__(self, generator: Generator, prompt: Arrays, pictures: Pictures | None, most: int):
        self.generator, self.prompt, self.pictures = generator, prompt, pictures
        T, trained = prompt["ids"].shape[1], generator.rope.trained_length
        long = bool(generator.rope.long_factors)
        self.most, self.slots = T + most, -(-(T + most) // BLOCK) * BLOCK
        self.turns = long and T <= trained < T + most  # LongRoPE's other factors: all is read anew when they come
        self.trained, self.tokens = trained, np.zeros((len(prompt["ids"]), 0), np.int32)

    def begin(self) -> np.ndarray:
        """Reads the prompt -> logits (B, V)."""
        engine = self.generator.engine
        logits, state = self.generator._prefill(self.prompt, self.pictures, self.slots)
        self.loop = self.generator._loop(state)
        return engine.numpy(logits).astype(np.float32)

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
        ids, read = engine.array(tokens), None
        while True:
            with engine.inference():
                (ids,) = self.loop("likeliest", ids)
                following = engine.fetch(ids)
            if read is not None:
                yield read()
            read = following
            if not engine.runs_ahead():
                yield read()
                read = None


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
