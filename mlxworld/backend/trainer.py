"""The train step on MLX: a pure function of (weights, averages, optimizer state, batch, key, rate).

Nothing in it waits for the device, and `compile=True` compiles it as it is. The twin of `torch_backend/trainer.py`.
Knows nothing of models, data or schedules.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map

from .. import nn, random
from ..files import checkpoint
from ..training.turn import Turn, cut, labelled
from .arrays import array, cast, floating, numpy
from .count import count
from .distributed import mean, rank, ranks, shard
from .optim import Optimizer


class Trainer:
    """Trains the parameters of `model` that its turns name and that are not frozen.

    With precision "bfloat16" or "float16" the forward and backward passes run on copies of the weights in it, float32
    weights are kept, and for float16 the loss is scaled: halved when gradients overflow, else grown slowly. `compile`
    compiles the step, once for each set of shapes. Averages and moments are those of what is trained; a frozen model
    costs its weights, as they are. Of several ranks each takes its parts of every batch; all move the weights alike.
    """

    def __init__(
        self,
        model: Any,
        turns: Sequence[Turn],
        *,
        precision: str = "float32",
        accumulate: int = 1,
        compile: bool = False,  # noqa: A002
        sharded: bool = False,
    ):
        model = shard(model) if sharded else model
        self.model, self.turns, self.precision, self.accumulate = model, tuple(turns), precision, accumulate
        self.steps = 0  # calls of `step`, skipped updates included
        self.warmup = 1  # steps of each set of shapes that are slower: one compiles
        self._own = math.lcm(accumulate, ranks()) // ranks()  # parts of a batch that are this rank's
        weights: dict[str, Any] = nn.parameters(model)
        marks = nn.roles(model)
        free = {name for name, _ in tree_flatten(model.trainable_parameters())}
        free = [name for name, x in weights.items() if name in free and floating(x)]
        self._names = {turn.name: turn.chosen(free) for turn in self.turns}
        own = {turn: {name: weights[name] for name in names} for turn, names in self._names.items()}
        self._optimizers = {t.name: Optimizer(t.optim, own[t.name], marks) for t in self.turns}
        self._state: dict[str, mx.array] = {"scale": mx.array(2.0**15 if precision == "float16" else 1.0)}
        for name, optimizer in self._optimizers.items():
            self._state |= {f"{name}.{slot}": x for slot, x in optimizer.init(own[name]).items()}
        self.ema = {name: weights[name] for names in self._names.values() for name in names}  # by the model's names
        wrap = mx.compile if compile else lambda fn: fn
        self._differentiates = {t.name: wrap(functools.partial(self._differentiate, t)) for t in self.turns}
        self._updates = {t.name: wrap(functools.partial(self._update, t)) for t in self.turns}

    def step(self, batch: dict[str, np.ndarray], seed: int, rate: float = 1.0) -> dict[str, mx.array]:
        """One update by each turn, in order, from a batch of arrays with a leading axis B, at `rate` times the turn's
        learning rate. Returns "loss", its parts, "grad_norm" and "finite"; of several turns: see `turn.labelled`.

        They are scalar arrays on the device: reading one waits for it. With `accumulate` = n the batch is cut in n
        equal parts whose gradients are averaged, and only one part is in memory at a time. All ranks give the same
        batch and share its parts, at least one each: what n parts learn does not depend on how many ranks divide n.
        grad_norm is the norm before clipping. Where a turn's loss or a gradient is not finite it updates nothing, and
        "finite" is 0. `seed` makes the key. Raises MlxworldError when B cannot be cut in n.
        """
        n, metrics = math.lcm(self.accumulate, ranks()), {}
        parts, own = cut(batch, n), slice(rank(), None, ranks())
        weights, arrays, key = nn.parameters(self.model), nn.buffers(self.model), random.key(seed)
        keys = [key] if len(self.turns) == 1 else random.split(key, len(self.turns))
        try:
            for turn, key in zip(self.turns, keys, strict=True):
                total, new, differentiate = None, arrays, self._differentiates[turn.name]
                part_keys = [key] if n == 1 else random.split(key, n)
                for part, part_key in zip(parts[own], part_keys[own], strict=True):
                    result, new = differentiate(weights, new, self._state["scale"], array(part), part_key)
                    total = result if total is None else tree_map(mx.add, total, result)
                    if n > 1:
                        mx.eval(total, new)
                total, new = mean((total, new))
                lr = mx.array(turn.optim.lr * rate, mx.float32)
                averaging = mx.array(1 - turn.optim.averaging(self.steps))
                trained = {name: weights[name] for name in self._names[turn.name]}
                averages = {name: self.ema[name] for name in trained}
                update = self._updates[turn.name]
                trained, averages, arrays, self._state, metrics[turn.name] = update(
                    trained, averages, (arrays, new), self._state, total, lr, averaging
                )
                weights |= trained
                self.ema |= averages
        finally:
            nn.assign(self.model, weights | arrays)
        self.steps += 1
        mx.async_eval([weights[name] for name in self.ema], self.ema, arrays, self._state, metrics)
        return labelled(metrics)

    def operations(self, batch: dict[str, np.ndarray], seed: int = 0) -> list[tuple[str, str, int, dict, dict]]:
        """The operations of all turns' losses and gradients for a batch, as `engine.count` gives them."""
        weights, arrays, key, rows = nn.parameters(self.model), nn.buffers(self.model), random.key(seed), []
        for turn in self.turns:
            args = weights, arrays, self._state["scale"], array(batch), key
            rows += count(functools.partial(self._differentiate, turn), *args)
            nn.assign(self.model, weights | arrays)
        return rows

    def state(self) -> dict[str, np.ndarray]:
        """All that an exact resume needs, the same on both backends: "model.*" (what is trained, and buffers),
        "ema.*", "optim.*" and "step"."""
        return numpy(self._arrays()) | {"step": np.array(self.steps)}

    def load_state(self, state: dict[str, np.ndarray], source: str = "the training state") -> None:
        """Goes on from `state()`, of either backend. Raises MlxworldError unless names and shapes agree."""
        own = self._arrays()
        checkpoint.check({n: x.shape for n, x in own.items()} | {"step": ()}, state, source)
        new = {n: mx.array(state[n]).astype(x.dtype) for n, x in own.items()}
        nn.assign(self.model, _below("model.", new))
        self.ema, self._state, self.steps = _below("ema.", new), _below("optim.", new), int(state["step"])

    def _arrays(self):
        weights = nn.parameters(self.model)
        model = {name: weights[name] for name in self.ema} | nn.buffers(self.model)
        groups = {"model": model, "ema": self.ema, "optim": self._state}
        return {f"{group}.{n}": x for group, arrays in groups.items() for n, x in arrays.items()}

    def _differentiate(self, turn, weights, arrays, scale, batch, key):
        """(The loss with its parts, and the gradients, times `scale`) of one part of a batch, and the new buffers."""
        nn.assign(self.model, arrays)

        def scaled_loss(trained):
            nn.assign(self.model, {n: cast(w, self.precision) for n, w in (weights | trained).items()})
            loss, parts = turn.loss(self.model, batch, key)
            loss = loss.astype(mx.float32)
            return loss * scale, {"loss": loss, **parts}, nn.buffers(self.model)

        own = {name: weights[name] for name in self._names[turn.name]}
        (_, metrics, new), gradients = mx.value_and_grad(scaled_loss)(own)
        metrics = {name: x + 0 for name, x in metrics.items()}  # mx.compile fails where a result is an operand too
        return (metrics, gradients), {name: mx.stop_gradient(x) for name, x in new.items()}

    def _update(self, turn, weights, ema, arrays, state, total, lr, averaging):
        """Clips, updates unless something is not finite, averages. All on the device."""
        metrics, gradients = tree_map(lambda x: x / self._own, total)
        norm = mx.sqrt(mx.stack([mx.sum(mx.square(g)) for g in gradients.values()]).sum()) / state["scale"]
        finite = mx.isfinite(norm) & mx.isfinite(metrics["loss"])
        shrink = mx.minimum(turn.optim.clip / (norm + 1e-6), 1) / state["scale"]
        gradients = {n: g * shrink for n, g in gradients.items()}
        moments = _below(f"{turn.name}.", state)
        moved, new_moments = self._optimizers[turn.name].update(weights, gradients, moments, lr)
        weights = {n: mx.where(finite, moved[n], w) for n, w in weights.items()}
        state = state | {f"{turn.name}.{n}": mx.where(finite, x, moments[n]) for n, x in new_moments.items()}
        if self.precision == "float16":
            state["scale"] = state["scale"] * mx.where(finite, 1.0005, 0.5)
        ema = {n: e + (weights[n] - e) * averaging for n, e in ema.items()}
        before, after = arrays
        arrays = {n: mx.where(finite, after[n].astype(x.dtype), x) for n, x in before.items()}
        metrics = metrics | {"grad_norm": norm, "finite": finite.astype(mx.float32)}
        return weights, ema, arrays, state, metrics


def _below(prefix: str, arrays: dict) -> dict:
    return {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}
