"""Latent hooks: learned tokens that join the attention of chosen layers of any stack of the shared block.

A hook's keys get log sigmoid(b) added to their logits, so that each weighs sigmoid(b) of what a content key does, and
nothing stands between that gate and the softmax. Hooks read what the caller lets them read (never a causal target, so
no future token leaks through one) and each other. A stack without open hooks runs the plain code, bit for bit.

Two ways to join: `stack`, where hooks read content; and `prefix`, for a stack that is causal all along, as a world's
dynamics or a decoder of language, where they read each other alone: their keys and values are the same for all frames
or tokens, and no cache holds them.

B batch, N content tokens, M tokens of a hook, C model width, L layers of a hook.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mlxworld.configs.block import BlockConfig
from mlxworld.configs.hook import HookConfig

from ... import nn, ops
from ...nn import Module, RMSNorm
from ..arrays import Array
from .attention import attend as attend_all
from .block import Block, FeedForward, apply
from .init import init_weights
from .probe import Attend, Probe
from .rope import turning


class Transform(Module):
    """h + MLP(norm(h)), from one layer to the next; the MLP is nothing at first."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm, self.mlp = RMSNorm(dim), FeedForward(BlockConfig(dim, 1, hidden=64))

    def forward(self, h: Array) -> Array:
        """h (B, M, 1, C) -> the same shape."""
        return self.mlp(self.norm(h), h)


class LatentNeuralHook(Module):
    def __init__(self, cfg: HookConfig):
        super().__init__()
        self.cfg = cfg
        self.tokens = ops.zeros((cfg.num_tokens, cfg.dim))
        self.gate_bias = ops.full((len(cfg.target_layers),), cfg.gate_bias_init)
        nn.role(self, "embedding", "tokens")
        if cfg.use_transform and len(cfg.target_layers) > 1:
            self.transforms = [Transform(cfg.dim) for _ in cfg.target_layers[1:]]

    def init(self, key: Array) -> "LatentNeuralHook":
        """Fresh weights from a key, the same on both backends."""
        init_weights(self, key, 1)
        for transform in getattr(self, "transforms", []):
            nn.assign(transform.mlp.down, {"weight": ops.zeros(transform.mlp.down.weight.shape)})
        return self

    def start(self, rows: int) -> Array:
        """(B, M, 1, C)."""
        return ops.broadcast_to(self.tokens[None, :, None], (rows, self.cfg.num_tokens, 1, self.cfg.dim))

    def gate(self, layer: int) -> Array:
        """log sigmoid(b) of a target layer, (1,) float32."""
        b = ops.float32(self.gate_bias[self.cfg.target_layers.index(layer)][None])
        return ops.log(ops.sigmoid(ops.clip(b, -80.0, 80.0)))  # a form by abs(b) has no gradient at 0

    def carried(self, h: Array, layer: int) -> Array:
        """Its state after a target layer, for the next."""
        index, h = self.cfg.target_layers.index(layer), ops.cast(h, like=self.tokens)
        return self.transforms[index](h) if index < len(getattr(self, "transforms", [])) else h

    def open_layers(self) -> list[int]:
        """Target layers whose gate is not shut (b = -inf). Reads the host: for `register_hook`, not for a step."""
        biases = ops.stop_gradient(self.gate_bias)
        return [n for n, b in zip(self.cfg.target_layers, biases, strict=True) if float(b) > float("-inf")]


def at(hooks: Sequence[LatentNeuralHook], opened: dict[str, list[int]], layer: int) -> list[LatentNeuralHook]:
    """The hooks that join a layer."""
    return [hook for hook in hooks if layer in opened[hook.cfg.name]]


def gates(hooks: Sequence[LatentNeuralHook], layer: int, like: Array) -> Array:
    """What the hooks' keys get added to their logits: (1, 1, 1, M of all)."""
    return ops.cast(ops.concat([ops.broadcast_to(h.gate(layer), (h.cfg.num_tokens,)) for h in hooks]), like)[
        None, None, None
    ]


def stack(
    blocks: Sequence[Block],
    x: Array,
    angles: Array,
    mask: Array,
    reads: Array,
    hooks: Sequence[LatentNeuralHook] = (),
    opened: dict[str, list[int]] | None = None,
    start: Callable[[int], Any] | None = None,
    checkpointing: bool = False,
    relay: Callable[[Array], Array] | None = None,
    probe: Probe | None = None,
) -> tuple[Array, list[Any]]:
    """x (B, N, 1, C) through the blocks, hooks with it -> x, and each layer's cache.

    angles (2, N, 1, 1, E) of the content; hooks are not turned. mask (B, 1, N, N) is added to logits of content, reads
    (B, 1, 1, N) to those of a hook's queries. start(tokens): a layer's cache to begin with, where keys are kept.
    relay: takes what goes into the first block and what comes out of each, hooks with it; the stack goes on with what
    it gives (see objectives/predictive_coding.py).
    probe: notes what content gives to hooks.
    """
    x = x if relay is None else relay(x)
    B, N = x.shape[:2]
    states, caches = {h.cfg.name: h.start(B) for h in hooks}, []
    plain = turning(angles)
    for layer, block in enumerate(blocks):
        joined = at(hooks, opened or {}, layer)
        y, rope, m, attend = x, plain, mask, attend_all
        if joined and probe is not None:
            attend = probe.watching(attend, layer, joined, N)
        if joined:
            y = ops.concat([x, *(ops.cast(states[h.cfg.name], like=x) for h in joined)], axis=1)
            M = y.shape[1] - N
            unturned = [ops.ones((1, M, *angles.shape[2:]), like=x), ops.zeros((1, M, *angles.shape[2:]), like=x)]
            rope = turning(ops.concat([angles, ops.concat(unturned)], axis=1))
            rows = ops.concat([mask, ops.broadcast_to(reads, (B, 1, M, N))], axis=2)
            m = ops.concat([rows, ops.broadcast_to(gates(joined, layer, x), (B, 1, N + M, M))], axis=3)
        if start is None:
            y, cache = apply(block, y, rope, m, checkpointing, attend=attend), None
        else:
            y, cache = block(y, rope, m, start(y.shape[1]), attend=attend)
        caches.append(cache)
        y = y if relay is None else relay(y)
        x, first = y[:, :N], N
        for h in joined:
            states[h.cfg.name] = h.carried(y[:, first : first + h.cfg.num_tokens], layer)
            first += h.cfg.num_tokens
    return x, caches


class _Kept:
    """A cache that keeps the keys and values of one pass."""

    def update(self, k: Array, v: Array) -> tuple[Array, Array, tuple[Array, Array]]:
        return k, v, (k, v)


def prefix(
    blocks: Sequence[Block],
    hooks: Sequence[LatentNeuralHook],
    opened: dict[str, list[int]],
    attend: Attend = attend_all,
    like: Array | None = None,
) -> list[tuple[Array, Array, Array] | None]:
    """What each layer's attention sees of hooks that read nothing but each other: keys and values (1, G, M, E), and
    their gates (M,). None where no hook joins. like: of the content's type, where the blocks' may not be the hooks'."""
    states, more = {h.cfg.name: h.start(1) for h in hooks}, []
    for layer, block in enumerate(blocks):
        joined = at(hooks, opened, layer)
        if not joined:
            more.append(None)
            continue
        x = ops.concat([states[h.cfg.name] for h in joined], axis=1)
        x = x if like is None else ops.cast(x, like=like)
        gate = gates(joined, layer, x)
        mask = ops.broadcast_to(gate[0], (1, x.shape[1], x.shape[1]))
        y, (k, v) = block(x, None, mask, _Kept(), attend=attend)
        more.append((k.flatten(2, 3), v.flatten(2, 3), gate[0, 0, 0]))
        first = 0
        for h in joined:
            states[h.cfg.name] = h.carried(y[:, first : first + h.cfg.num_tokens], layer)
            first += h.cfg.num_tokens
    return more


class Hooked(Module):
    """A module with `blocks` of width `hook_width`, which hooks join."""

    blocks: Any
    hooks: Any
    hook_width: int
    _opened: dict[str, list[int]]
    _probe: Probe | None

    def register_hook(self, hook: LatentNeuralHook) -> None:
        """The hook joins from now on. ValueError for one of another width, or a name or layer that is not there."""
        cfg = hook.cfg
        if cfg.dim != self.hook_width or cfg.target_layers[-1] >= len(self.blocks):
            raise ValueError(f"hook {cfg.name!r} is for another model: width {cfg.dim}, layers {cfg.target_layers}")
        if cfg.name in self.opened:
            raise ValueError(f"there is a hook named {cfg.name!r} already")
        self._opened = self.opened | {cfg.name: hook.open_layers()}
        self.hooks = [*getattr(self, "hooks", []), hook]

    def remove_hook(self, name: str) -> None:
        """The model goes on without it. KeyError where there is no such hook."""
        if name not in self.opened:
            raise KeyError(f"there is no hook named {name!r}")
        rest = [hook for hook in self.hooks if hook.cfg.name != name]
        self._opened = {hook.cfg.name: self._opened[hook.cfg.name] for hook in rest}
        del self.hooks
        if rest:
            self.hooks = rest

    @property
    def hookable(self) -> tuple[int, ...]:
        """The layers that a hook can join."""
        return tuple(range(len(self.blocks)))

    @property
    def opened(self) -> dict[str, list[int]]:
        """The open layers of each hook that has joined, by its name."""
        return getattr(self, "_opened", {})

    def joined(
        self, attend: Attend = attend_all, like: Array | None = None
    ) -> list[tuple[Array, Array, Array] | None] | None:
        """What each layer sees of the hooks as a `prefix`; None where none is open. attend: how they see each other."""
        opened = self.opened
        return prefix(self.blocks, self.hooks, opened, attend, like) if any(opened.values()) else None

    def attending(self, attend: Attend, layer: int, more: Any) -> Attend:
        """`attend` for a layer that sees what `joined` gives of it, `more`."""
        if self.probe is not None:
            attend = self.probe.watching(attend, layer, at(self.hooks, self.opened, layer))
        return functools.partial(attend, more=more)

    @property
    def probe(self) -> Probe | None:
        """What notes attention mass on hooks; None outside `probed`."""
        return getattr(self, "_probe", None)

    @contextlib.contextmanager
    def probed(self) -> Iterator[Probe]:
        """While it lasts, each pass notes how much attention its hooks get. For passes that are not compiled."""
        self._probe = Probe()
        try:
            yield self._probe
        finally:
            self._probe = None
