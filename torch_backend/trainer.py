"""The train step on PyTorch: the host stays ahead of the device, which alone decides to skip, to clip and to average.

AdamW is the fused kernel. The twin of `mlxworld/backend/trainer.py`. Knows nothing of models, data or schedules.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mlxworld.files import checkpoint
from mlxworld.training.turn import Turn, cut, labelled

from . import nn, random
from .arrays import array, device, numpy
from .count import record
from .distributed import Shards, mean, rank, ranks, shard
from .graphs import Captured
from .optim import Optimizer


class Trainer:
    """Trains the parameters of `model` that its turns name and that are not frozen; moves the model to the device.

    With precision "bfloat16" or "float16" the forward and backward passes run under autocast, float32 weights are kept,
    and for float16 the loss is scaled: halved when gradients overflow, else grown slowly. `compile` compiles the
    losses, once for each set of shapes; on one GPU the whole step, optimizers included, is then a CUDA graph. Averages
    and moments are those of what is trained; a frozen model costs its weights, as they are.

    Of several ranks each takes its parts of every batch, and all move the weights alike. With `sharded` a copy of the
    model is trained whose layers are in parts on all ranks; `ema`, `state` and `load_state` put it together, and are
    for all ranks to call.
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
        self.turns, self.precision, self.parts = tuple(turns), precision, math.lcm(accumulate, ranks())
        self._whole = model.to(device())
        self.model = model = shard(copy.deepcopy(self._whole)) if sharded and ranks() > 1 else self._whole
        self._losses = {t.name: torch.compile(t.loss, dynamic=False) if compile else t.loss for t in self.turns}
        self.steps = 0  # calls of `step`, skipped updates included
        weights, marks = nn.parameters(model), nn.roles(model)
        free = [name for name, p in weights.items() if p.requires_grad and p.is_floating_point()]
        self._weights, self._shards = weights, Shards(weights)
        local = self._shards.local
        self._trained = {t.name: {name: local(name, weights[name]) for name in t.chosen(free)} for t in self.turns}
        self._optimizers = {t.name: Optimizer(t.optim, self._trained[t.name], marks, self._shards) for t in self.turns}
        self._scale = torch.tensor(2.0**15 if precision == "float16" else 1.0, device=device())
        own = [item for trained in self._trained.values() for item in trained.items()]
        self._ema = {name: p.detach().clone() for name, p in own}
        self._graphed = compile and device() == "cuda" and ranks() == 1
        self._run = Captured(self._updates) if self._graphed else self._updates
        self.warmup = 3 if self._graphed else 1  # steps of each set of shapes that are slower: they compile and record

    @property
    def ema(self) -> dict[str, torch.Tensor]:
        """The averages of what is trained, by the model's names."""
        return {name: self._shards.whole(name, x) for name, x in self._ema.items()}

    def step(self, batch: dict[str, np.ndarray], seed: int, rate: float = 1.0) -> dict[str, torch.Tensor]:
        """One update by each turn, in order, from a batch of arrays with a leading axis B, at `rate` times the turn's
        learning rate. Returns "loss", its parts, "grad_norm" and "finite"; of several turns: see `turn.labelled`.

        They are scalar tensors on the device: reading one waits for it. With `accumulate` = n the batch is cut in n
        equal parts whose gradients are averaged, and only one part is in memory at a time. All ranks give the same
        batch and share its parts, at least one each: what n parts learn does not depend on how many ranks divide n.
        grad_norm is the norm before clipping. Where a turn's loss or a gradient is not finite it updates nothing, and
        "finite" is 0. `seed` makes the key. Raises MlxworldError when B cannot be cut in n.
        """
        cut(batch, self.parts)  # or an error, before anything moves
        rates = [[turn.optim.lr * rate, 1 - turn.optim.averaging(self.steps)] for turn in self.turns]
        metrics = self._run(array(batch), array(random.key(seed)), array(np.array(rates, np.float32)))
        self.steps += 1
        return metrics

    def _updates(self, batch: dict[str, Any], key: torch.Tensor, rates: torch.Tensor) -> dict[str, Any]:
        """All turns. rates (turns, 2): of each its learning rate, and the share of new weights in the averages."""
        parts = cut(batch, self.parts)
        keys = [key] if len(self.turns) == 1 else random.split(key, len(self.turns))
        metrics = {turn.name: self._turn(turn, parts, *of) for turn, *of in zip(self.turns, keys, rates, strict=True)}
        return labelled(metrics)

    def _turn(self, turn: Turn, parts: list[dict[str, Any]], key: Any, rates: torch.Tensor) -> dict[str, torch.Tensor]:
        trained, before = self._trained[turn.name], nn.buffers(self.model)
        keys = [key] if len(parts) == 1 else random.split(key, len(parts))
        own = list(zip(parts, keys, strict=True))[rank() :: ranks()]
        for weight in self._weights.values():
            weight.grad = None
        rows = [self._differentiate(turn, part, k) for part, k in own]
        metrics = mean({name: torch.stack([row[name] for row in rows]).mean() for name in rows[0]})
        gradients = self._gradients(trained)
        norm = self._shards.norm(gradients) / self._scale
        finite = norm.isfinite() & metrics["loss"].isfinite()
        shrink = (turn.optim.clip / (norm + 1e-6)).clamp(max=1) / self._scale
        torch._foreach_mul_(list(gradients.values()), shrink)  # pyright: ignore[reportPrivateImportUsage]
        for name, weight in trained.items():
            weight.grad = gradients[name]
        self._optimizers[turn.name].update(rates[0], finite)
        if self.precision == "float16":
            self._scale *= torch.where(finite, 1.0005, 0.5)
        self._keep_buffers(before, finite)
        self._average(turn, rates[1])
        return metrics | {"grad_norm": norm, "finite": finite.float()}

    def _gradients(self, trained: dict[str, Any]) -> dict[str, torch.Tensor]:
        """The mean gradients over all ranks, as they are here; layers in parts have averaged theirs already."""
        own = {name: self._shards.gradient(name, self._weights[name]) for name in trained}
        gradients = {n: torch.zeros_like(trained[n]) if g is None else g for n, g in own.items()}
        return gradients | mean({name: g for name, g in gradients.items() if name not in self._shards})

    def _differentiate(self, turn: Turn, batch: dict[str, torch.Tensor], key: Any) -> dict[str, torch.Tensor]:
        """Adds the gradients (times the scale) of one part of a batch to `.grad`; the loss with its parts."""
        low = self.precision != "float32"
        dtype = getattr(torch, self.precision) if low else None
        with torch.autocast(device(), dtype, enabled=low, cache_enabled=not self._graphed):
            loss, metrics = self._losses[turn.name](self.model, batch, key)
        names = self._trained[turn.name]
        inputs = None if any(name in self._shards for name in names) else [self._weights[name] for name in names]
        share = ranks() / self.parts  # of a part among those of this rank
        (loss.float() * self._scale * share).backward(inputs=inputs)  # layers in parts gather gradients themselves
        return {name: x.detach().float() for name, x in ({"loss": loss} | metrics).items()}

    @torch.no_grad()
    def _keep_buffers(self, before: dict[str, torch.Tensor], finite: torch.Tensor) -> None:
        """Buffers that a loss has assigned are written where they were, as they were where the step is not finite."""
        for name, after in nn.buffers(self.model).items():
            if after is not (held := before[name]):
                held.copy_(torch.where(finite, mean(after.detach()).to(held.dtype), held))
                owner, _, last = name.rpartition(".")
                setattr(self.model.get_submodule(owner), last, held)
                self._tell_buffers()

    def _tell_buffers(self) -> None:
        if self._whole is not self.model:
            nn.assign(self._whole, nn.buffers(self.model))

    @torch.no_grad()
    def _average(self, turn: Turn, rate: torch.Tensor) -> None:
        trained = self._trained[turn.name]
        averages = [self._ema[name] for name in trained]
        moves = torch._foreach_sub(list(trained.values()), averages)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_mul_(moves, rate)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_add_(averages, moves)  # pyright: ignore[reportPrivateImportUsage]

    def operations(self, batch: dict[str, np.ndarray], seed: int = 0) -> list[tuple[str, str, int, dict, dict]]:
        """The operations of all turns' losses and gradients for a batch, as `engine.count` gives them."""
        rows = []
        for turn in self.turns:
            before = nn.buffers(self.model)
            with record() as recorder:
                self._differentiate(turn, array(batch), array(random.key(seed)))
            self._keep_buffers(before, torch.zeros((), dtype=torch.bool, device=device()))
            rows += recorder.ops
        return rows

    def state(self) -> dict[str, np.ndarray]:
        """All that an exact resume needs, the same on both backends and on any number of ranks: "model.*" (what is
        trained, and buffers), "ema.*", "optim.*" and "step"."""
        arrays = {key: self._shards.whole(name, x) for key, (name, x) in self._arrays().items()}
        return numpy(arrays) | {"step": np.array(self.steps)}

    @torch.no_grad()
    def load_state(self, state: dict[str, np.ndarray], source: str = "the training state") -> None:
        """Goes on from `state()`, of either backend. Raises MlxworldError unless names and shapes agree."""
        own = self._arrays()
        shapes = {key: self._weights[name].shape if name in self._shards else x.shape for key, (name, x) in own.items()}
        checkpoint.check(shapes | {"step": ()}, state, source)
        for key, (name, x) in own.items():
            x.copy_(self._shards.part(name, torch.tensor(state[key], device=x.device)))
        self._tell_buffers()
        for optimizer in self._optimizers.values():
            optimizer.sync()
        self.steps = int(state["step"])

    def _arrays(self) -> dict[str, tuple[str, torch.Tensor]]:
        """{name in a state: (the parameter that it has the shape of, the array as it is here)}."""
        trained = {name: w for weights in self._trained.values() for name, w in weights.items()}
        rows: dict[str, tuple[str, torch.Tensor]] = {
            f"model.{n}": (n, x) for n, x in (trained | nn.buffers(self.model)).items()
        }
        rows |= {f"ema.{n}": (n, x) for n, x in self._ema.items()}
        for turn, optimizer in self._optimizers.items():
            rows |= {f"optim.{turn}.{slot}": (slot.partition(".")[2], x) for slot, x in optimizer.state.items()}
        return rows | {"optim.scale": ("", self._scale)}
