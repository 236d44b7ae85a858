"""The decoder: blocks over a sequence of embeddings, which attend to all before, to a window of it, or to pictures.

Notable: rows of a batch end together, so that shorter ones are padded at their beginnings; `prompt` reads whole rows
and leaves a state of fixed shapes, from which `step` goes on a token at a time. A sliding layer keeps a ring of its
window. Positions are an argument: a picture's may be three numbers (M-RoPE), and after it they go on from its side.
Latent hooks join as a prefix (see `blocks/hooks.py`): every token sees them, no cache holds them.

B rows, T tokens, N slots of a cache, S tokens of the pictures, C width, V words, E width of a head, L cross layers.
"""

import functools
from typing import Any

from mlxworld.configs.vision_language import DecoderConfig, RopeConfig

from ... import nn, ops
from ...nn import Embedding, Linear
from ..arrays import Array, State
from ..blocks import Block, attend, mask, rope
from ..blocks.block import norm
from ..blocks.cache import Ring, Start
from ..blocks.hooks import Hooked, LatentNeuralHook


class Decoder(Hooked):
    def __init__(self, cfg: DecoderConfig):
        super().__init__()
        self.cfg, self.hook_width = cfg, cfg.block.dim
        self._embed_scale = ops.array([cfg.embed_scale])
        self.embed = nn.role(Embedding(cfg.tokens or cfg.vocab, cfg.block.dim), "embedding")
        self.blocks = [
            Block(cfg.cross, cross=True) if kind == "cross" and cfg.cross is not None else Block(cfg.block)
            for kind in cfg.layers
        ]
        self.norm = norm(cfg.block)
        if not cfg.tied:
            self.head = nn.role(Linear(cfg.block.dim, cfg.vocab, bias=False), "head")
        for kind in set(cfg.layers) - {"cross"}:
            for name, values in frequencies(cfg.block.width, cfg.rope_of(kind)).items():
                setattr(self, f"_{kind}_{name}", ops.array(values))

    def register_hook(self, hook: LatentNeuralHook) -> None:
        """As `Hooked.register_hook`. ValueError for a layer that attends to pictures, too."""
        layers = [n for n in hook.cfg.target_layers if n < len(self.blocks) and n not in self.hookable]
        if layers:
            raise ValueError(f"hook {hook.cfg.name!r} is for another model: layer {layers[0]} attends to pictures")
        super().register_hook(hook)

    @property
    def hookable(self) -> tuple[int, ...]:
        """The layers that a hook can join: those that do not attend to pictures."""
        return tuple(n for n, kind in enumerate(self.cfg.layers) if kind != "cross")

    def embedded(self, ids: Array) -> Array:
        """Token ids (B, T) -> embeddings (B, T, C)."""
        x = self.embed(ids)
        return x if self.cfg.embed_scale == 1 else x * ops.cast(self._embed_scale, like=x)

    def logits(self, x: Array) -> Array:
        """What the last block gave (..., C) -> logits (..., V)."""
        x = nn.unembed(self.embed, x) if self.cfg.tied else self.head(x)
        return x if self.cfg.logit_scale == 1 else x * self.cfg.logit_scale

    def prompt(
        self, x: Array, prompt: dict[str, Array], pictures: Array | None = None, slots: int = 0
    ) -> tuple[Array, State]:
        """Embeddings x (B, T, C) -> the last block's output, normalised, and the state for `step`, of `slots` tokens.

        prompt: "positions" (B, T), or (B, T, 3) with M-RoPE; "pad" (B,), tokens of each row that are padding; "shift"
        (B,), what a later token's place in the row lacks of its position; where pictures see themselves whole
        "picture" (B, T), their number from 1, 0 for words. With cross layers pictures (B, S, C') and "seen" (B, T, S),
        True where a token sees a token of a picture. slots: 0 for no state.
        """
        T = x.shape[1]
        masks, turns = self._prompt_masks(prompt, T, like=x), self._turns(prompt["positions"], like=x)
        seen, sees = self._sight(prompt.get("seen"), like=x)
        x, stores, sources, more = x[:, :, None], [], [], self.joined(self._attend, like=x)
        for i, (block, kind) in enumerate(zip(self.blocks, self.cfg.layers, strict=True)):
            if kind == "cross":
                if pictures is None:
                    continue
                source = block.attn.keys_values(pictures[:, :, None])
                x = block(x, None, seen, source=source, sees=sees)[0]
                sources.append(source)
            else:
                start = Start(self._slots(kind, slots)) if slots else None
                x, store = block(x, turns[kind], masks[kind], start, attend=self._seeing(i, more))
                stores.append(store)
        state: State = {"stores": stores, "pad": prompt["pad"], "shift": prompt["shift"]}
        if slots:
            state |= {"length": prompt["pad"][:1] * 0 + T}
            if "sliding" in self.cfg.layers:
                state |= {"slot": prompt["pad"][:1] * 0 + T % self._slots("sliding", slots)}
            if seen is not None and sees is not None and sources:
                state |= {"sources": sources, "seen": seen[:, :, -1:] + 0, "sees": sees[:, -1:] + 0}
        return self.norm(x[:, :, 0]), state

    def init_state(self, B: int, slots: int, like: Array) -> State:
        """The state before the first token, of `slots` tokens at most, for a decoder without cross layers."""
        block = self.cfg.block
        shapes = [(B, block.groups, self._slots(kind, slots), 1, block.width) for kind in self._kinds()]
        none = ops.int32(ops.zeros((B,), like=like))
        state: State = {"stores": [(ops.zeros(shape, like=like), ops.zeros(shape, like=like)) for shape in shapes]}
        state |= {"pad": none, "shift": none, "length": none[:1] * 1}
        return state | ({"slot": none[:1] * 1} if "sliding" in self.cfg.layers else {})

    def step(self, x: Array, state: State, positions: Array | None = None) -> tuple[Array, State]:
        """The embeddings x (B, T, C) of the next tokens of each row -> as `prompt`; the state holds them afterwards.

        T is 1, or so few that no window is full after them. positions: (B, T), or (B, T, 3) with M-RoPE; those of
        words unless given.
        """
        T, pad, slot = x.shape[1], state["pad"], state.get("slot")
        length = _following(state["length"], T)
        if positions is None:
            positions = length[None] + state["shift"][:, None]
            positions = ops.stack([positions] * 3, axis=-1) if self.cfg.rope.sections else positions
        turns = self._turns(positions, like=x)
        places = {"full": length, "sliding": None if slot is None else _following(slot, T)}
        stores, sources = iter(state["stores"]), iter(state.get("sources", ()))
        after, masks, more = [], {}, self.joined(self._attend, like=x)
        x = x[:, :, None]
        for i, (block, kind) in enumerate(zip(self.blocks, self.cfg.layers, strict=True)):
            if kind == "cross":
                if (source := next(sources, None)) is not None:
                    x = block(x, None, state["seen"], source=source, sees=state["sees"])[0]
                continue
            store = next(stores)
            if kind not in masks:
                masks[kind] = mask(_kept(store[0].shape[2], length, places[kind], pad), like=x)
            x, ring = block(x, turns[kind], masks[kind], Ring(store, places[kind]), attend=self._seeing(i, more))
            after.append(ring.stores)
        state = state | {"stores": after, "length": state["length"] + T}
        if slot is not None:
            slots = next(s[0].shape[2] for s, k in zip(after, self._kinds(), strict=True) if k == "sliding")
            state["slot"] = ops.where(slot == slots - T, slot * 0, slot + T)
        return self.norm(x[:, :, 0]), state

    def back(self, state: State, length: Array) -> State:
        """The state when only so many tokens (1,) were read, for windows that were never full."""
        return state | {"length": length * 1} | ({"slot": length * 1} if "slot" in state else {})

    def _kinds(self):
        """What each layer with a cache attends to."""
        return [kind for kind in self.cfg.layers if kind != "cross"]

    def _slots(self, kind, slots):
        return min(self.cfg.window, slots) if kind == "sliding" else slots

    @property
    def _attend(self):
        return functools.partial(attend, scale=self.cfg.attention_scale)

    def _seeing(self, layer, more):
        """How a layer attends, to its hooks too, which `joined` gave as `more`."""
        seen = None if more is None else more[layer]
        return self._attend if seen is None else self.attending(self._attend, layer, seen)

    def _prompt_masks(self, prompt, T, like):
        """By kind of layer, what is added to scores, (B, 1, T, T)."""
        t = ops.arange(T, like=prompt["pad"])
        age = t[:, None] - t[None]
        seen = (age >= 0)[None]
        if "picture" in prompt:
            n = prompt["picture"]
            seen = seen | ((n[:, :, None] == n[:, None]) & (n[:, :, None] > 0))
        words = t[None, None] >= prompt["pad"][:, None, None]
        itself = (age == 0)[None]  # padding, too, sees something
        masks = {"full": mask(((seen & words) | itself)[:, None], like=like)}
        if "sliding" in self.cfg.layers:
            masks["sliding"] = mask(((seen & words & (age < self.cfg.window)[None]) | itself)[:, None], like=like)
        return masks

    def _sight(self, seen, like):
        """seen (B, T, S) -> what is added to scores (B, 1, T, S), and 1 where a token sees anything (B, T, 1, 1)."""
        if seen is None:
            return None, None
        sees = ops.max(ops.int32(seen), axis=-1, keepdims=True)
        return mask((seen | (sees == 0))[:, None], like=like), ops.cast(sees[..., None], like=like)

    def _turns(self, positions, like):
        """By kind of layer, what turns queries and keys at these positions."""
        return {kind: self._turn(kind, positions, like) for kind in set(self._kinds())}

    def _turn(self, kind, positions, like):
        how, f = self.cfg.rope_of(kind), getattr(self, f"_{kind}_short")
        if how.long_factors:
            beyond = ops.max(positions, axis=(0, 1)) >= how.trained_length
            f = ops.where(beyond, getattr(self, f"_{kind}_long"), f)
        if how.sections:
            turned = rope.by_section(rope.angles(positions.moveaxis(-1, 0), f, how.scale), how.sections)
        else:
            turned = rope.angles(positions, f, how.scale)
        turned = ops.cast(turned, like=like)
        return rope.turning([turned[i][:, :, None, None] for i in (0, 1)], how.interleaved)


def frequencies(width: int, how: RopeConfig) -> dict[str, list[float]]:
    """Radians a position (E / 2,): "short", and with LongRoPE "long", beyond the trained length."""
    plain = [f / how.factor if not how.low_freq_factor else f for f in rope.frequencies(width, how.base)]
    if how.low_freq_factor:
        limits = how.low_freq_factor, how.high_freq_factor, how.trained_length
        plain = rope.by_wave_length(plain, how.factor, *limits)
    if not how.long_factors:
        return {"short": plain}
    factors = {"short": how.short_factors, "long": how.long_factors}
    return {name: rope.frequencies(width, how.base, list(values)) for name, values in factors.items()}


def _following(first: Any, T: int) -> Array:
    """first (1,), and the T - 1 numbers after it (T,)."""
    return first if T == 1 else first + ops.arange(T, like=first)


def _kept(slots: int, length: Any, newest: Any, pad: Array) -> Array:
    """Which of N slots hold words when token `length` (T,) of each row lies in slot `newest` (T,): (B, 1, T, N)."""
    back = newest[:, None] - ops.arange(slots, like=length)
    token = length[:, None] - ops.where(back < 0, back + slots, back)  # the newest that can be there
    return (token[None] >= pad[:, None, None])[:, None]
