"""Recurrent memory: tokens that stand among a clip's and are carried to the next (Bulatov et al. 2022).

The clip reads them and they read the clip, in every layer; a gate then writes what came out of the last layer into the
state, as a GRU's does, so that a state can stay as it is and none grows, however many clips there are. A state alone is
a source: what it holds is told by `model("memory", state, target)` or `model.generate("memory", state, ...)`.

Learning goes back through a number of clips (truncated backpropagation through time, Williams & Peng 1990). What is
written is asked for after later clips alone: were states detached from clip to clip, the first write would get no
gradient, and only what its random weights happen to write could be told.

B rows, M tokens of memory, C model width, K clips of a stream.
"""

from collections.abc import Mapping
from typing import Any

from ... import nn, ops
from ...nn import Linear, Module
from ..arrays import Array
from ..objectives.predictive_coding import Relay
from .losses import LOSSES, pairs_loss, unit

SHUT = 1.0  # taken off the gate's logits: at first a clip writes about a quarter of the state


class Memory(Module):
    def __init__(self, tokens: int, dim: int):
        super().__init__()
        self.slots = ops.zeros((tokens, dim))
        nn.role(self, "embedding", "slots")
        self.content, self.gate = Linear(dim, dim), Linear(dim, dim)

    def start(self, rows: int) -> Array:
        """The state before the first clip, (B, M, C) float32. A row that is set to it begins a stream anew."""
        return ops.zeros((rows, *self.slots.shape), like=ops.float32(self.slots))

    def tokens(self, state: Array) -> Array:
        """A state (B, M, C) as tokens (B, M, C). ValueError for a state of another shape."""
        if tuple(state.shape[1:]) != tuple(self.slots.shape):
            raise ValueError(f"a memory is {tuple(self.slots.shape)} a row, not {tuple(state.shape[1:])}")
        return ops.cast(state, like=self.slots) + self.slots

    def write(self, state: Array, y: Array) -> Array:
        """A state (B, M, C) and what its tokens came to in the last layer -> the next state, float32 in [-1, 1]."""
        gate = ops.sigmoid(ops.float32(self.gate(y)) - SHUT)
        return state + gate * (ops.tanh(ops.float32(self.content(y))) - state)


def recall_loss(
    model: Any, clips: Mapping[str, Array], source: str, target: str, bptt: int, relay: Relay | None = None
) -> tuple[Array, dict[str, Array]]:
    """How well memory alone tells what the first clip of a stream was: the mean over all later clips, and "recall",
    that after the last.

    clips: of each modality (B, K, ...), pictures and videos uint8, K at least 2. The clips are seen as `source`, and
    the first is told as `target`. bptt: clips that a gradient goes back through, at least 2: states are detached after
    every so many. relay: see objectives/predictive_coding.py.
    """
    seen, cue = unit(source, clips[source]), unit(target, clips[target][:, 0])
    state, losses = model.memory.start(seen.shape[0]), []
    for t in range(seen.shape[1]):
        state = ops.stop_gradient(state) if t % bptt == 0 else state
        state, _ = model.remember(state, source, seen[:, t], relay=relay)
        if t:
            recalled = model("memory", state, target, text=cue if target == "text" else None, relay=relay)["output"]
            losses.append(LOSSES[target](recalled, cue))
    return sum(losses) / len(losses), {"recall": losses[-1]}


def streams_loss(
    model: Any,
    batch: Mapping[str, Array],
    pairs: tuple[tuple[str, str], ...],
    contrast: float,
    clips: int,
    source: str,
    target: str,
    bptt: int,
    relay: Relay | None = None,
) -> tuple[Array, dict[str, Array]]:
    """`pairs_loss` of all clips, each for itself, and `recall_loss` of the streams that each `clips` rows of the batch
    make."""
    loss, parts = pairs_loss(model, dict(batch), pairs, contrast, relay)
    streams = {m: x.reshape(x.shape[0] // clips, clips, *x.shape[1:]) for m, x in batch.items()}
    recall, more = recall_loss(model, streams, source, target, bptt, relay)
    return loss + recall, parts | more
