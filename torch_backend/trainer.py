"""The train step on PyTorch: the host stays ahead of the device, which alone decides to skip, to clip and to average.

AdamW is the fused kernel. The twin of `mlxworld/backend/trainer.py`. Knows nothing of models, data or schedules.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mlxworld.files import checkpoint
from mlxworld.training.turn import Turn, cut, labelled

from . import nn, random
from .arrays import array, device, numpy
from .count import record
from .graphs import Captured
from .optim import Optimizer


class Trainer:
    """Trains the parameters of `model` that its turns name and that are not frozen; moves the model to the device.

    With precision "bfloat16" or "float16" the forward and backward passes run under autocast, float32 weights are kept,
    and for float16 the loss is scaled: halved when gradients overflow, else grown slowly. `compile` compiles the
    losses, once for each set of shapes; on a GPU the whole step, optimizers included, is then one CUDA graph. Averages
    and moments are those of what is trained; a frozen model costs its weights, as they are.
    """

    def __init__(
        self,
        model: Any,
        turns: Sequence[Turn],
        *,
        precision: str = "float32",
        accumulate: int = 1,
        compile: bool = False,  # noqa: A002
    ):
        self.model, self.turns, self.precision, self.accumulate = (
            model.to(device()),
            tuple(turns),
            precision,
            accumulate,
        )
        self._losses = {t.name: torch.compile(t.loss, dynamic=False) if compile else t.loss for t in self.turns}
        self.steps = 0  # calls of `step`, skipped updates included
        weights, marks = nn.parameters(model), nn.roles(model)
        free = [name for name, p in weights.items() if p.requires_grad and p.is_floating_point()]
        self._trained = {t.name: {name: weights[name] for name in t.chosen(free)} for t in self.turns}
        self._optimizers = {t.name: Optimizer(t.optim, self._trained[t.name], marks) for t in self.turns}
        self._scale = torch.tensor(2.0**15 if precision == "float16" else 1.0, device=device())
        own = [item for trained in self._trained.values() for item in trained.items()]
        self.ema = {name: p.detach().clone() for name, p in own}  # by the model's names
        self._graphed = compile and device() == "cuda"
        self._run = Captured(self._updates) if self._graphed else self._updates

    def step(self, batch: dict[str, np.ndarray], seed: int, rate: float = 1.0) -> dict[str, torch.Tensor]:
        """One update by each turn, in order, from a batch of arrays with a leading axis B, at `rate` times the turn's
        learning rate. Returns "loss", its parts, "grad_norm" and "finite"; of several turns: see `turn.labelled`.

        They are scalar tensors on the device: reading one waits for it. With `accumulate` = n the batch is cut in n
        equal parts whose gradients are averaged, and only one part is in memory at a time. grad_norm is the norm before
        clipping. Where a turn's loss or a gradient is not finite it updates nothing, and "finite" is 0. `seed` makes
        the key. Raises MlxworldError when B cannot be cut in n.
        """
        cut(batch, self.accumulate)  # or an error, before anything moves
        rates = [[turn.optim.lr * rate, 1 - turn.optim.averaging(self.steps)] for turn in self.turns]
        metrics = self._run(array(batch), array(random.key(seed)), array(np.array(rates, np.float32)))
        self.steps += 1
        return metrics

    def _updates(self, batch: dict[str, torch.Tensor], key: torch.Tensor, rates: torch.Tensor) -> dict[str, Any]:
        """All turns. rates (turns, 2): of each its learning rate, and the share of new weights in the averages."""
        parts = cut(batch, self.accumulate)
        keys = [key] if len(self.turns) == 1 else random.split(key, len(self.turns))
        metrics = {turn.name: self._turn(turn, parts, *of) for turn, *of in zip(self.turns, keys, rates, strict=True)}
        return labelled(metrics)

    def _turn(self, turn: Turn, parts: list[dict[str, Any]], key: Any, rates: torch.Tensor) -> dict[str, torch.Tensor]:
        trained, before = list(self._trained[turn.name].values()), nn.buffers(self.model)
        keys = [key] if len(parts) == 1 else random.split(key, len(parts))
        for weight in trained:
            weight.grad = None
        rows = [self._differentiate(turn, part, k) for part, k in zip(parts, keys, strict=True)]
        metrics = {name: torch.stack([row[name] for row in rows]).mean() for name in rows[0]}
        for weight in trained:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        gradients = [weight.grad for weight in trained]
        norm = torch.nn.utils.get_total_norm(gradients) / self._scale
        finite = norm.isfinite() & metrics["loss"].isfinite()
        shrink = (turn.optim.clip / (norm + 1e-6)).clamp(max=1) / self._scale
        torch._foreach_mul_(gradients, shrink)  # pyright: ignore[reportPrivateImportUsage]
        self._optimizers[turn.name].update(rates[0], finite)
        if self.precision == "float16":
            self._scale *= torch.where(finite, 1.0005, 0.5)
        self._keep_buffers(before, finite)
        self._average(turn, rates[1])
        return metrics | {"grad_norm": norm, "finite": finite.float()}

    def _differentiate(self, turn: Turn, batch: dict[str, torch.Tensor], key: Any) -> dict[str, torch.Tensor]:
        """Adds the gradients (times the scale) of one part of a batch to `.grad`; the loss with its parts."""
        low = self.precision != "float32"
        dtype = getattr(torch, self.precision) if low else None
        with torch.autocast(device(), dtype, enabled=low, cache_enabled=not self._graphed):
            loss, metrics = self._losses[turn.name](self.model, batch, key)
        (loss.float() * self._scale / self.accumulate).backward(inputs=list(self._trained[turn.name].values()))
        return {name: x.detach().float() for name, x in ({"loss": loss} | metrics).items()}

    @torch.no_grad()
    def _keep_buffers(self, before: dict[str, torch.Tensor], finite: torch.Tensor) -> None:
        """Buffers that a loss has assigned are written where they were, as they were where the step is not finite."""
        for name, after in nn.buffers(self.model).items():
            if after is not (held := before[name]):
                held.copy_(torch.where(finite, after.detach().to(held.dtype), held))
                owner, _, last = name.rpartition(".")
                setattr(self.model.get_submodule(owner), last, held)

    @torch.no_grad()
    def _average(self, turn: Turn, rate: torch.Tensor) -> None:
        trained = self._trained[turn.name]
        averages = [self.ema[name] for name in trained]
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
        """All that an exact resume needs, the same on both backends: "model.*" (what is trained, and buffers),
        "ema.*", "optim.*" and "step"."""
        return numpy(self._arrays()) | {"step": np.array(self.steps)}

    @torch.no_grad()
    def load_state(self, state: dict[str, np.ndarray], source: str = "the training state") -> None:
        """Goes on from `state()`, of either backend. Raises MlxworldError unless names and shapes agree."""
        own = self._arrays()
        checkpoint.check({n: x.shape for n, x in own.items()} | {"step": ()}, state, source)
        for name, x in own.items():
            x.copy_(torch.tensor(state[name]))
        for optimizer in self._optimizers.values():
            optimizer.sync()
        self.steps = int(state["step"])

    def _arrays(self):
        weights = nn.parameters(self.model)
        model = {name: weights[name] for name in self.ema} | nn.buffers(self.model)
        optim = {f"{name}.{n}": x for name, o in self._optimizers.items() for n, x in o.state.items()}
        groups = {"model": model, "ema": self.ema, "optim": optim | {"scale": self._scale}}
        return {f"{group}.{n}": x for group, arrays in groups.items() for n, x in arrays.items()}
