"""A model that sees and writes: a tower's features take their places among the embeddings of words, or are attended to.

Knows nothing of text, pictures on disk or sampling: `prompt` arrays are made on the host (`text/prompt.py`).

B rows, T tokens, N features of all pictures, C width, V words.
"""

from typing import Any

from mlxworld.configs.vision_language import VisionLanguageConfig

from ... import ops
from ...nn import Module
from ..arrays import Array, State
from ..blocks import init_weights
from .decoder import Decoder
from .vision import Vision


class Model(Module):
    def __init__(self, cfg: VisionLanguageConfig):
        super().__init__()
        self.cfg = cfg
        if cfg.vision is not None:
            self.vision = Vision(cfg.vision)
        self.decoder = Decoder(cfg.decoder)

    def init(self, key: Array) -> "Model":
        """The model itself, with fresh weights."""
        init_weights(self, key, len(self.cfg.decoder.layers))
        return self

    def forward(self, prompt: dict[str, Array], pictures: dict[str, Array] | None = None, layout: Any = ()) -> Array:
        """Logits (B, T, V) of what follows each token of whole rows. Arguments: see `prefill`."""
        x, source = self._read(prompt, pictures, layout)
        return self.decoder.logits(self.decoder.prompt(x, prompt, source)[0])

    def prefill(
        self, prompt: dict[str, Array], pictures: dict[str, Array] | None = None, layout: Any = (), slots: int = 0
    ) -> tuple[Array, State]:
        """Reads whole rows -> logits (B, V) of what follows them, and the state for `step`, of `slots` tokens at most.

        prompt: "ids" (B, T), what `Decoder.prompt` takes, and "feature" (B, T), the number of the feature that belongs
        to a token, -1 for a word; with cross layers "rows" (B, M), the numbers of a row's pictures. pictures and
        layout: of the tower, see `Vision`.
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
        x = self.decoder.embedded(prompt["ids"])
        if pictures is None:
            return x, None
        features = ops.cast(self.vision(pictures, layout), like=x)
        if "rows" in prompt:
            source = ops.take(features, prompt["rows"], axis=0)
            return x, source.reshape(x.shape[0], -1, source.shape[-1])
        return self._placed(x, features, prompt["feature"]), None

    def _placed(self, x, features, index):
        """x (B, T, C), features (N, C) at the tokens that have one: index (B, T), -1 elsewhere."""
        theirs = ops.take(features, ops.where(index < 0, index * 0, index), axis=0)
        here = (index >= 0)[..., None]
        return ops.where(here, x + theirs if self.cfg.adds else theirs, x)
