"""AdamW, or Muon with AdamW for what is no hidden matrix, on MLX: its own optimizers as one pure function.

The state is flat, "step", "m.NAME" and (AdamW) "v.NAME": the same names, shapes and meanings as on PyTorch.
"""

import mlx.core as mx
import mlx.optimizers

from ..configs.optim import OptimConfig


class Optimizer:
    def __init__(self, optim: OptimConfig, weights: dict[str, mx.array], roles: dict[str, str]):
        self._rules: dict[str, list[str]] = {}
        for name, weight in weights.items():
            self._rules.setdefault(optim.rule(roles.get(name), weight.ndim), []).append(name)
        self._optimizers = {rule: _optimizer(rule, optim) for rule in self._rules}

    def init(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        """The state before the first update."""
        slots = [(f"{s}.{n}", n) for rule, names in self._rules.items() for n in names for s in _slots(rule)]
        return {"step": mx.array(0)} | {slot: mx.zeros_like(weights[n]) for slot, n in slots}

    def update(self, weights, gradients, state, lr) -> tuple[dict[str, mx.array], dict[str, mx.array]]:
        """New weights and a new state; what came in stays as it is. `lr` is a scalar array."""
        weights, new = dict(weights), {"step": state["step"] + 1}
        for rule, names in self._rules.items():
            optimizer, slots = self._optimizers[rule], _slots(rule)
            moments = {n: {s: state[f"{s}.{n}"] for s in slots} for n in names}
            optimizer.state = {"step": state["step"], "learning_rate": lr, **moments}
            weights |= optimizer.apply_gradients({n: gradients[n] for n in names}, {n: weights[n] for n in names})
            new |= {f"{s}.{n}": optimizer.state[n][s] for n in names for s in slots}
            optimizer.state = {}  # or it would keep the arrays of this update alive
        return weights, new


class _Muon(mlx.optimizers.Muon):
    """MLX's Muon with decoupled weight decay, on kernels as matrices (out, the rest), in steps of AdamW's size.

    That size is a root mean square of 0.2 (Liu et al. 2025, "Muon is scalable for LLM training"): MLX's steps times
    0.2 * sqrt(columns).
    """

    def __init__(self, optim: OptimConfig):
        super().__init__(optim.lr, optim.momentum, weight_decay=0)
        self.decay = optim.weight_decay

    def apply_single(self, gradient, parameter, state):
        flat, slots = gradient.reshape(len(gradient), -1), {"v": state["m"].reshape(len(gradient), -1)}
        step = super().apply_single(flat, mx.zeros_like(flat), slots) * (0.2 * flat.shape[1] ** 0.5)
        state["m"] = slots["v"].reshape(gradient.shape)
        return parameter * (1 - self.learning_rate * self.decay) + step.reshape(gradient.shape)


def _slots(rule: str) -> tuple[str, ...]:
    return ("m",) if rule == "muon" else ("m", "v")


def _optimizer(rule: str, optim: OptimConfig) -> mlx.optimizers.Optimizer:
    if rule == "muon":
        return _Muon(optim)
    decay = optim.weight_decay if rule == "decay" else 0.0
    return mlx.optimizers.AdamW(optim.lr, [optim.beta1, optim.beta2], optim.eps, decay, bias_correction=True)
