"""AdamW, or Muon with AdamW for what is no hidden matrix, on PyTorch: in place, without waiting for the device.

The state is flat, "step", "m.NAME" and (AdamW) "v.NAME": the same names, shapes and meanings as on MLX.
"""

import math

import torch

from mlxworld.configs.optim import OptimConfig

from .distributed import Shards

_SLOTS = {"m": "exp_avg", "v": "exp_avg_sq"}


class Optimizer:
    def __init__(
        self,
        optim: OptimConfig,
        weights: dict[str, torch.nn.Parameter],
        roles: dict[str, str],
        shards: Shards | None = None,
    ):
        """weights: as they are here; `shards` says which of them are parts, of matrices that Muon needs whole."""
        rules: dict[str, list[str]] = {"muon": [], "decay": [], "plain": []}
        for name, weight in weights.items():
            rules[optim.rule(roles.get(name), weight.ndim)].append(name)
        groups = [
            {"params": [weights[n] for n in rules[rule]], "weight_decay": decay}
            for rule, decay in (("decay", optim.weight_decay), ("plain", 0.0))
        ]
        self._muon = _Muon(optim, {n: weights[n] for n in rules["muon"]}, shards or Shards({}))
        betas, graphed = (optim.beta1, optim.beta2), next(iter(weights.values())).is_cuda
        self._adamw = torch.optim.AdamW(groups, optim.lr, betas, optim.eps, fused=True, capturable=graphed)
        for weight in (w for group in groups for w in group["params"]):
            moments = {slot: torch.zeros_like(weight) for slot in _SLOTS.values()}
            self._adamw.state[weight] = {"step": torch.zeros((), device=weight.device), **moments}
        step = torch.zeros((), dtype=torch.int32, device=next(iter(weights.values())).device)
        adamw = {n: self._adamw.state[weights[n]] for n in rules["decay"] + rules["plain"]}
        moments = {f"{s}.{n}": adamw[n][slot] for s, slot in _SLOTS.items() for n in adamw}
        self.state = {"step": step} | moments | {f"m.{n}": m for n, m in self._muon.momentum.items()}

    def update(self, lr: torch.Tensor, finite: torch.Tensor) -> None:
        """Moves the weights by their `.grad`; where `finite` is false nothing changes. Scalars on the device."""
        self._muon.update(lr, finite)
        for group in self._adamw.param_groups:
            group["lr"] = lr
        vars(self._adamw).update(grad_scale=None, found_inf=(~finite).float())  # the fused kernel reads them
        self._adamw.step()
        self.state["step"] += finite

    def sync(self) -> None:
        """Call it after the arrays of `state` were written to: AdamW counts its steps for each weight."""
        for slots in self._adamw.state.values():
            slots["step"].copy_(self.state["step"])


class _Muon:
    """Muon (Jordan et al. 2024) with Nesterov momentum, decoupled weight decay, and kernels as matrices (out, rest).

    Matrices of one shape move together. Steps have AdamW's size, a root mean square of 0.2 (Liu et al. 2025, "Muon is
    scalable for LLM training"). torch.optim.Muon does the same one matrix at a time, but always in bfloat16, refuses
    kernels, and cannot skip an update without waiting for the device.
    """

    def __init__(self, optim: OptimConfig, weights: dict[str, torch.nn.Parameter], shards: Shards):
        self._rate, self._decay, self._shards = 1 - optim.momentum, optim.weight_decay, shards
        shapes: dict[tuple[bool, int, int], list[str]] = {}
        for name, weight in weights.items():
            shapes.setdefault((name in shards, len(weight), math.prod(weight.shape[1:])), []).append(name)
        self._groups = [
            ({n: weights[n] for n in names}, torch.zeros(len(names), *shape, device=weights[names[0]].device))
            for (_, *shape), names in shapes.items()
        ]
        self.momentum = {
            n: m.view(w.shape) for group, ms in self._groups for (n, w), m in zip(group.items(), ms, strict=True)
        }

    @torch.no_grad()
    def update(self, lr: torch.Tensor, finite: torch.Tensor) -> None:
        for weights, momentum in self._groups:
            gradients = torch.stack([w.grad.flatten(1) for w in weights.values() if w.grad is not None])
            old = torch.stack([w.flatten(1) for w in weights.values()])
            new = momentum.lerp(gradients, self._rate)
            step = self._direction(weights, gradients.lerp(new, 1 - self._rate))
            moved = torch.where(finite, old * (1 - lr * self._decay) - lr * step, old)
            momentum.copy_(torch.where(finite, new, momentum))
            for weight, value in zip(weights.values(), moved, strict=True):
                weight.copy_(value.view(weight.shape))

    def _direction(self, weights: dict[str, torch.nn.Parameter], ahead: torch.Tensor) -> torch.Tensor:
        """The steps (N, rows, columns) from momenta of that shape; parts of matrices are put together for it."""
        whole, part, pairs = self._shards.whole, self._shards.part, list(zip(weights.items(), ahead, strict=True))
        if not any(name in self._shards for name in weights):
            return _orthogonal(ahead) * (0.2 * math.sqrt(max(ahead.shape[1:])))
        full = torch.stack([whole(n, x.view(w.shape)).flatten(1) for (n, w), x in pairs])
        steps = _orthogonal(full) * (0.2 * math.sqrt(max(full.shape[1:])))
        shape = (-1, *next(iter(weights.values())).shape[1:])
        return torch.stack([part(n, s.view(shape)).flatten(1) for n, s in zip(weights, steps, strict=True)])


def _orthogonal(x: torch.Tensor) -> torch.Tensor:
    """(N, rows, columns) with singular values brought near 1, by five quintic Newton-Schulz steps; bfloat16 on CUDA."""
    if x.shape[1] > x.shape[2]:
        return _orthogonal(x.mT).mT
    a, b, c = 3.4445, -4.7750, 2.0315
    y = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    y = y.bfloat16() if x.is_cuda else y
    for _ in range(5):
        square = y @ y.mT
        y = a * y + (b * square + c * square @ square) @ y
    return y.to(x.dtype)
