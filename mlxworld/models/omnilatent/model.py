"""OmniLatentModel: one stack of blocks over [source token, content, ...] and [target token, queries].

A source reads itself alone, so its latent is the same whatever is asked for, and its keys can be kept. Targets read the
sources and themselves: text only what comes before, the others all. So one pass serves several targets: none sees
another. Positions count from a place of their own for each modality, so padding moves nothing.

B rows, N tokens, C model width, V words, T frames, F bands.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlxworld.configs.omnilatent import EOS, MODALITIES, PAD, SPAN, OmniLatentConfig

from ... import nn, ops, random
from ...nn import RMSNorm
from ..arrays import Array
from ..blocks import Block, Ring, init_weights, mask
from ..blocks.cache import Start
from ..blocks.hooks import Hooked, at, gates, stack
from ..blocks.rope import angles, frequencies, turning
from ..objectives.uncertainty import Uncertainty
from .memory import Memory
from .stems import stems
from .temporal import Timeline


class OmniLatentModel(Hooked):
    def __init__(self, cfg: OmniLatentConfig):
        super().__init__()
        self.cfg = cfg
        parts = stems(cfg)
        self.text, self.audio, self.image, self.video = (parts[m] for m in MODALITIES)
        self.kinds = ops.zeros((2 * len(MODALITIES), cfg.hidden_dim))  # tokens of sources, then of targets
        lengths = (cfg.audio_frames + 1) // 2, cfg.image_tokens, cfg.video_tokens
        self.audio_queries, self.image_queries, self.video_queries = (ops.zeros((n, cfg.hidden_dim)) for n in lengths)
        nn.role(self, "embedding", "kinds", "audio_queries", "image_queries", "video_queries")
        self.blocks = [Block(cfg.block) for _ in range(cfg.num_layers)]
        self.norm = RMSNorm(cfg.hidden_dim)
        self.objective = Uncertainty(dict.fromkeys(MODALITIES, 0.0))
        if cfg.timeline:
            self.timeline = Timeline(cfg)
        if cfg.memory_tokens:
            self.memory = Memory(cfg.memory_tokens, cfg.hidden_dim)
        self.hook_width = cfg.hidden_dim

    def init(self, key: Array) -> "OmniLatentModel":
        """Fresh weights from a key, the same on both backends."""
        init_weights(self, key, self.cfg.num_layers)
        return self

    def hooked(self) -> Hooked:
        """The stack of blocks that latent hooks join."""
        return self

    def forward(
        self,
        source: str,
        data: Array,
        target: str,
        text: Array | None = None,
        lengths: Array | None = None,
        relay: Callable[[Array], Array] | None = None,
    ) -> dict[str, Array]:
        """{"output", "latent" (B, C)}: of text, logits (B, T, V); else the modality itself, channels last.

        data: text (B, T) ids, audio (B, T, F), image (B, H, W, 3), video (B, T, H, W, 3), or memory (B, M, C). text
        (B, T): what is to be written, each token seen after it is asked for; None: the first token alone, or a text's
        own. lengths (B,): frames of an audio or video that count. relay: see blocks.hooks.stack.
        """
        text = data if text is None and source == target == "text" else text
        (x,), latent = self._run({source: data}, [target], text, {source: lengths}, relay)
        return {"output": self._out(target, x), "latent": latent}

    def reconstruct(self, modality: str, data: Array) -> Array:
        """What the model makes of the data in its own modality."""
        return self.forward(modality, data, modality)["output"]

    def forward_multimodal(
        self,
        inputs: Mapping[str, Array],
        target_modalities: Sequence[str],
        text: Array | None = None,
        relay: Callable[[Array], Array] | None = None,
    ) -> dict[str, Any]:
        """Several sources together -> {target: output} for at least one target, and their common "latent" (B, C)."""
        hidden, latent = self._run(inputs, target_modalities, text, {}, relay)
        return {t: self._out(t, x) for t, x in zip(target_modalities, hidden, strict=True)} | {"latent": latent}

    def encode(
        self,
        modality: str,
        data: Array,
        lengths: Array | None = None,
        relay: Callable[[Array], Array] | None = None,
    ) -> Array:
        """The latent (B, C) of one source: the mean of its tokens after the last layer."""
        x, place, there = self._sources({modality: data}, {modality: lengths})
        reads = mask(there, like=x)[:, None, None]
        y, _ = self._stack(x, place, reads, reads, relay=relay)
        return self._pooled(y, there)

    def remember(
        self,
        state: Array,
        modality: str,
        data: Array,
        lengths: Array | None = None,
        relay: Callable[[Array], Array] | None = None,
    ) -> tuple[Array, Array]:
        """A memory (B, M, C), at first `memory.start(B)`, and the next clip -> the memory after it, and the latent
        (B, C) of the clip after what came before it. relay: see blocks.hooks.stack; the memory that is written is one
        more value. ValueError for a memory of another shape, or a model of none."""
        x, place, there = self._sources({"memory": state, modality: data}, {modality: lengths})
        seen, M = mask(there, like=x)[:, None, None], state.shape[1]
        y, _ = self._stack(x, place, seen, seen, relay=relay)
        state = self.memory.write(state, y[:, :M])
        return state if relay is None else relay(state), self._pooled(y[:, M:], there[:, M:])

    def init_state(self, source: str, data: Array, max_len: int, lengths: Array | None = None) -> dict[str, Any]:
        """The source's keys and values, with room for `max_len` tokens of text."""
        x, place, there = self._sources({source: data}, {source: lengths})
        seen = mask(there, like=x)[:, None, None]
        _, stores = self._stack(x, place, seen, seen, start=lambda n: Start(n + max_len))
        return {"stores": stores, "seen": seen, "step": ops.zeros((1,), like=x) * 0}

    def step(self, state: dict[str, Any], ids: Array | None) -> tuple[Array, dict[str, Any]]:
        """The logits (B, V) of the token after ids (B,); None: of the first."""
        B = state["seen"].shape[0]
        token = self._token("text", B) if ids is None else self.text.embed(ids[:, None])
        x, t = token[:, :, None], ops.int32(state["step"])
        rope = turning(self._angles(ops.float32(t) + SPAN * len(MODALITIES), x))
        stores, P = [], state["seen"].shape[-1]
        for layer, (block, store) in enumerate(zip(self.blocks, state["stores"], strict=True)):
            joined = at(getattr(self, "hooks", []), self.opened, layer)
            M = sum(h.cfg.num_tokens for h in joined)
            later = ops.arange(store[0].shape[2] - P - M, like=t)[None] <= t[:, None]
            later = ops.broadcast_to(mask(later, like=x)[None, None], (B, 1, 1, later.shape[1]))
            gate = [ops.broadcast_to(gates(joined, layer, x), (B, 1, 1, M))] if joined else []
            m = ops.concat([state["seen"], *gate, later], axis=-1)
            x, ring = block(x, rope, m, Ring(store, t + P + M))
            stores.append(ring.stores)
        logits = self.text.read(self.norm(x[:, 0, 0]))
        return logits, state | {"stores": stores, "step": state["step"] + 1}

    def generate(
        self,
        source: str,
        data: Array,
        max_len: int,
        lengths: Array | None = None,
        temperature: float = 0.0,
        top_k: int = 0,
        key: Array | None = None,
    ) -> Array:
        """Text (B, max_len) from any source, 0 after its end; hooks join as they do in `forward`.

        temperature 0: the likeliest token each time; else drawn by `key`, of the top_k likeliest (0: of all).
        """
        state, ids, out, going = self.init_state(source, data, max_len, lengths), None, [], None
        for _ in range(max_len):
            logits, state = self.step(state, ids)
            if temperature > 0:
                key, own = random.split(random.key(0, like=logits) if key is None else key)
                logits = _drawn(ops.float32(logits), temperature, top_k, own)
            ids = ops.int32(logits.argmax(-1))
            going = ids * 0 + 1 if going is None else going * ops.int32(out[-1] != EOS) * ops.int32(out[-1] != PAD)
            ids = ids * going
            out.append(ids)
        return ops.stack(out, axis=1)

    def _run(self, inputs, targets, text, lengths, relay=None):
        """Hidden states (B, n, C) of each target, and the sources' latent."""
        x, place, there = self._sources(inputs, lengths)
        (B, P), asked = x.shape[:2], [self._asked(target, text, x.shape[0]) for target in targets]
        sizes = [y.shape[1] for y in asked]
        own, first, last, begin = [], [], [], 0  # places in a target; of what a token sees, the first and the last one
        for target, n in zip(targets, sizes, strict=True):
            own.append(ops.arange(n, like=x))
            first.append(own[-1] * 0 + begin)
            last.append(begin + own[-1] if target == "text" else own[-1] * 0 + begin + n - 1)
            begin += n
        t, N = ops.arange(begin, like=x)[None], begin
        order = ops.int32(ops.concat(first)[:, None] <= t) * ops.int32(t <= ops.concat(last)[:, None]) > 0
        none, seen = ops.zeros((B, P, N), like=x) > 0, ops.broadcast_to(there[:, None], (B, P + N, P))
        right = ops.concat([none, ops.broadcast_to(order[None], (B, N, N))], axis=1)
        m = mask(ops.concat([seen, right], axis=2), like=x)[:, None]
        reads = mask(ops.concat([there, none[:, 0]], axis=1), like=x)[:, None, None]
        place = ops.concat([place, ops.float32(ops.concat(own)) + SPAN * len(MODALITIES)])
        y, _ = self._stack(ops.concat([x, *asked], axis=1), place, m, reads, relay=relay)
        return ops.split(y[:, P:], sizes, axis=1), self._pooled(y[:, :P], there)

    def _asked(self, target, text, rows):
        """The token that asks for a target and what stands for its parts, (B, n, C): a text's tokens, or queries."""
        y = self._token(target, rows)
        if target != "text":
            queries = getattr(self, f"{target}_queries")
            return ops.concat([y, ops.broadcast_to(queries[None], (rows, *queries.shape))], axis=1)
        return y if text is None else ops.concat([y, self.text.embed(text[:, :-1])], axis=1)

    def _stack(self, x, place, m, reads, start=None, relay=None):
        B, N = x.shape[:2]
        m = ops.broadcast_to(m, (B, 1, N, N))
        hooks, keep = getattr(self, "hooks", []), self.cfg.checkpointing
        turned = self._angles(place, x)
        y, caches = stack(
            self.blocks, x[:, :, None], turned, m, reads, hooks, self.opened, start, keep, relay, self.probe
        )
        return self.norm(y[:, :, 0]), caches

    def _sources(self, inputs, lengths):
        """Tokens (B, N, C) of all sources, their positions (N,) and booleans (B, N): which of them count."""
        tokens, places, there = [], [], []
        for modality, data in inputs.items():
            if modality == "memory":
                if not self.cfg.memory_tokens:
                    raise ValueError("this model was made without a memory")
                tokens.append(self.memory.tokens(data))
                places.append(ops.float32(ops.arange(data.shape[1], like=data)) + SPAN * (len(MODALITIES) + 1))
                there.append(ops.ones(data.shape[:2], like=data) > 0)
                continue
            index, own = MODALITIES.index(modality), None
            if modality == "text":
                own = data != PAD
            elif lengths.get(modality) is not None:
                own = ops.arange(data.shape[1], like=data)[None] < lengths[modality][:, None]
            stem = getattr(self, modality)
            content = stem.embed(data) if modality == "text" else stem.embed(_film(modality, data), own)
            B, n = content.shape[:2]
            kind = ops.broadcast_to(self.kinds[index][None, None], (B, 1, content.shape[-1]))
            tokens += [ops.cast(kind, like=content), content]
            places.append(ops.float32(ops.arange(n + 1, like=content)) + SPAN * index)
            first = ops.ones((B, 1), like=content) > 0
            there += [first, ops.ones((B, n), like=content) > 0 if own is None else self._counted(modality, own, n)]
        return ops.concat(tokens, axis=1), ops.concat(places), ops.concat(there, axis=1)

    def _counted(self, modality, own, n):
        """Which tokens count, from which frames do: a token does if its first frame does."""
        if modality == "text":
            return own
        if modality == "audio":
            return own[:, ::2]
        each = (self.cfg.video_size // self.cfg.video_patch) ** 2
        own = own[:, :: self.cfg.tubelet]
        return ops.broadcast_to(own[:, :, None], (*own.shape, each)).reshape(own.shape[0], n)

    def _token(self, target, rows):
        """The token that asks for a modality, (B, 1, C)."""
        index = len(MODALITIES) + MODALITIES.index(target)
        return ops.broadcast_to(self.kinds[index][None, None], (rows, 1, self.cfg.hidden_dim))

    def _angles(self, place, like):
        """Positions (N,) -> angles (2, N, 1, 1, E)."""
        turns = ops.array(frequencies(self.cfg.block.width), like=ops.float32(like[:1, :1]))
        return ops.cast(angles(place, turns)[:, :, None, None], like=like)

    def _pooled(self, x, there):
        weight = ops.cast(there, like=x)[..., None]
        return (x * weight).sum(axis=1) / weight.sum(axis=1)

    def _out(self, target, x):
        if target == "text":
            return self.text.read(x)
        y = getattr(self, target).read(x[:, 1:])
        return y[:, 0] if target == "image" else y[:, : self.cfg.audio_frames] if target == "audio" else y


def _film(modality, data):
    """A picture as a video of one frame; anything else as it is."""
    return data[:, None] if modality == "image" else data


def _drawn(logits, temperature, top_k, key):
    """Logits (B, V) with Gumbel noise, whose greatest is a draw; all but the top_k likeliest far below."""
    if top_k:
        rank = ops.int32(logits[:, None] > logits[..., None]).sum(-1)  # how many are likelier
        logits = ops.where(rank < top_k, logits, -1e9)
    noise = random.uniform(key, logits.shape, 1e-7, 1.0)
    return logits / temperature - ops.log(-ops.log(noise) + 1e-20)
