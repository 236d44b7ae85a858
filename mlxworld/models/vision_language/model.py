"""A model that sees and writes: a tower's features take their places among the embeddings of words, or are attended to.

Knows nothing of text, pictures on disk or sampling: `prompt` arrays are made on the host (`text/prompt.py`).

B rows, T tokens, N features of all pictures, C width, V words.
"""

from typing import Any

from mlxworld.configs.vision_language import SensorConfig, VisionLanguageConfig

from ... import ops
from ...nn import Linear, Module
from ..arrays import Array, State
from ..blocks import init_weights
from ..part import Part
from .decoder import Decoder
from .vision import Vision


class Sensor(Module):
    """Vectors (n, ..., dim) -> tokens (N, C), so many of each vector."""

    def __init__(self, cfg: SensorConfig, width: int):
        super().__init__()
        self.name, self.width = cfg.name, width
        self.up, self.down = Linear(cfg.dim, cfg.hidden), Linear(cfg.hidden, cfg.tokens * width)

    def forward(self, x: Array) -> Array:
        return self.down(ops.gelu(self.up(x))).reshape(-1, self.width)


class Model(Module):
    def __init__(self, cfg: VisionLanguageConfig):
        super().__init__()
        self.cfg = cfg
        if cfg.vision is not None:
            self.vision = Vision(cfg.vision)
        self.sensors = [Sensor(sensor, cfg.decoder.block.dim) for sensor in cfg.sensors]
        self.decoder = Decoder(cfg.decoder)

    def init(self, key: Array) -> "Model":
        """The model itself, with fresh weights."""
        init_weights(self, key, len(self.cfg.decoder.layers))
        return self

    def hooked(self) -> Decoder:
        """The stack of blocks that latent hooks join."""
        return self.decoder

    def forward(
        self, prompt: dict[str, Array], pictures: dict[str, Array] | None = None, layout: Any = (), last: int = 0
    ) -> Array:
        """Logits (B, T, V) of what follows each token of whole rows; (B, last, V) of the last ones alone, unless 0.
        Other arguments: see `prefill`."""
        x, source = self._read(prompt, pictures, layout)
        return self.decoder.logits(self.decoder.prompt(x, prompt, source)[0][:, -last:])

    def features(self, pictures: dict[str, Array], layout: Any = ()) -> Array:
        """What the tower makes of pictures: features (N, C) one after another; where they are attended to
        (n, tokens, C'). As "features" they may be given in the place of "pixels" and what belongs to those."""
        features = self.vision(pictures, layout)
        return features if "cross" in self.cfg.decoder.layers else features.reshape(-1, features.shape[-1])

    def prefill(
        self, prompt: dict[str, Array], pictures: dict[str, Array] | None = None, layout: Any = (), slots: int = 0
    ) -> tuple[Array, State]:
        """Reads whole rows -> logits (B, V) of what follows them, and the state for `step`, of `slots` tokens at most.

        prompt: "ids" (B, T), what `Decoder.prompt` takes, and "feature" (B, T), the number of the feature that belongs
        to a token, -1 for a word; with cross layers "rows" (B, M), the numbers of a row's pictures. pictures and
        layout: of the tower, see `Vision`; and the sensors' vectors, by name. Features are numbered in the order of the
        tower's, then each sensor's.
        """
        x, source = self._read(prompt, pictures, layout)
        x, state = self.decoder.prompt(x, prompt, source, slots)
        return self.decoder.logits(x[:, -1]), state

    def step(self, state: State, ids: Array) -> tuple[Array, State]:
        """The next token of each row, ids (B,) -> logits (B, V) of what follows it, and the state with it."""
        x, state = self.decoder.step(self.decoder.embedded(ids[:, None]), state)
        return self.decoder.logits(x[:, 0]), state

    def greedy(self, state: State, ids: Array) -> tuple[Array, State]:
        """The next token of each row, ids (B,) -> the likeliest one after it (B,), and the state with ids."""
        logits, state = self.step(state, ids)
        return ops.int32(logits.argmax(-1)), state

    def extend(self, state: State, begin: Array, ids: Array, count: Array) -> tuple[Array, State]:
        """Goes back to the first `begin` (1,) tokens and reads `count` (1,) of the words ids (B, T), which others
        may follow, -> as `step`. Windows were never full, and are not after T tokens more."""
        x, state = self.decoder.step(self.decoder.embedded(ids), self.decoder.back(state, begin))
        return self.decoder.logits(ops.take(x, count - 1, axis=1)[:, 0]), self.decoder.back(state, begin + count)

    def parts(self, slots: int) -> dict[str, Part]:
        """What leaves the house: a token's embedding, and the step that takes one, for texts of `slots` tokens. Prompts
        are read by it, too, a token or a feature at a time. Not for models that attend to pictures."""
        c, ids = self.cfg.decoder, ops.int32(ops.zeros((1, 1)))
        if "cross" in c.layers:
            raise ValueError("a decoder that attends to pictures has no parts")
        x, at = self.decoder.embedded(ids), ids[..., None] + ops.arange(3, like=ids) * 0 if c.rope.sections else ids
        whole = self.decoder.init_state(1, slots, like=x)
        given = {name: whole.pop(name) for name in ("pad", "shift")}  # one row: none is padding

        def embed(state, ids):
            return (self.decoder.embedded(ids),), state

        def write(state, embedding, position):
            x, state = self.decoder.step(embedding, state | {name: n * 0 for name, n in given.items()}, position)
            return (self.decoder.logits(x[:, 0]),), {name: state[name] for name in whole}

        about = (
            "Logits of the next token after one more, a word's embedding or a picture's feature. The state is the past."
        )
        return {
            "embed": Part("embed", "A token's embedding.", embed, {}, {"ids": ids}, ("embedding",)),
            "write": Part("write", about, write, whole, {"embedding": x * 1, "position": at * 1}, ("logits",)),
        }

    def reordered(self, state: State, rows: Array) -> State:
        """The state of rows (B',) of its B, each as often as it is named."""
        shared = ("length", "slot")  # by all rows

        def taken(x):
            if isinstance(x, list | tuple):
                return type(x)(taken(part) for part in x)
            return ops.take(x, rows, axis=0)

        return {name: x * 1 if name in shared else taken(x) for name, x in state.items()}

    def _read(self, prompt, pictures, layout):
        """Embeddings (B, T, C) with the features in their places, and what cross layers attend to."""
        x, source, placed = self.decoder.embedded(prompt["ids"]), None, []
        if pictures is None:
            return x, None
        if "pixels" in pictures or "features" in pictures:
            given = pictures.get("features")
            features = ops.cast(self.vision(pictures, layout) if given is None else given, like=x)
            if "rows" in prompt:
                source = ops.take(features, prompt["rows"], axis=0)
                source = source.reshape(x.shape[0], -1, source.shape[-1])
            if source is None or self.cfg.hybrid:
                placed.append(features.reshape(-1, features.shape[-1]))
        for sensor in self.sensors:
            if sensor.name in pictures:
                placed.append(sensor(ops.cast(pictures[sensor.name], like=x)))
        return self._placed(x, ops.concat(placed), prompt["feature"]) if placed else x, source

    def _placed(self, x, features, index):
        """x (B, T, C), features (N, C) at the tokens that have one: index (B, T), -1 elsewhere."""
        theirs = ops.take(features, ops.where(index < 0, index * 0, index), axis=0)
        is_picture = (index >= 0)[..., None]
        return ops.where(is_picture, x + theirs if self.cfg.adds else theirs, x)
