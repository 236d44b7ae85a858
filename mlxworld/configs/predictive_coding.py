"""How the layers of a model learn: all from one loss by backprop, or each from its own by predictive coding."""

from dataclasses import dataclass, fields
from typing import Literal

from ..errors import MlxworldError


@dataclass(frozen=True)
class PredictiveCodingConfig:
    """See `models/objectives/predictive_coding.py`. A family's settings inherit it, so its fields are their flags."""

    method: Literal["backprop", "pc"] = "backprop"  # pc: predictive coding; what follows is of it
    blend: float = 1.0  # its share of the update; the rest is backprop's
    blend_anneal: int = 0  # steps of each phase over which that share grows from 0
    inference_steps: int = 20  # T, of the values, before the weights are moved
    inference_rate: float = 0.01  # of the first of them; the others are as long as F's slope has room for
    nudge: float = 0.1  # beta: how strongly the loss pulls at the last layer's values; 1: it is their energy
    precisions: tuple[float, ...] = (1.0,)  # pi of each layer from the first one up, over its variance; one: of all
    fixed_prediction: bool = False  # predictions, slopes stay those of the forward pass; T >= layers is then backprop
    analytical: bool = False  # the values in closed form, without steps: to first order in the nudge

    def __post_init__(self):
        rules = [
            (0 <= self.blend <= 1 and self.blend_anneal >= 0, "--blend lies between 0 and 1, --blend-anneal is >= 0"),
            (1 <= self.inference_steps <= 10000, "--inference-steps lies between 1 and 10000"),
            (0 < self.inference_rate <= 1, "--inference-rate lies above 0 and up to 1"),
            (1e-6 <= self.nudge <= 1e6, "--nudge lies between 1e-6 and 1e6"),
            (all(1e-6 <= x <= 1e6 for x in self.precisions), "--precisions lie between 1e-6 and 1e6"),
            (len(self.precisions) > 0, "--precisions are one number or more"),
            (not (self.fixed_prediction and self.analytical), "--fixed-prediction or --analytical, not both"),
            (
                self.method == "pc" or all(getattr(self, f.name) == f.default for f in fields(PredictiveCodingConfig)),
                "--blend, --inference-steps and the like are of --method pc",
            ),
        ]
        for holds, line in rules:
            if not holds:
                raise MlxworldError(line)

    def require_layers(self, layers: int, shard: bool, checkpointing: bool, memory: bool = False) -> None:
        """Raises MlxworldError unless a training of a model with so many values goes with predictive coding. memory:
        two clips follow each other, the first is told of what the second left of it: values of two passes more, and of
        what each clip writes."""
        steps = layers + (layers + 2 if memory else 0)  # a step brings an error one value down
        enough, alike = self.analytical or self.inference_steps >= steps, len(self.precisions) in (1, layers)
        rules = [
            (enough, f"--inference-steps must be at least {steps}, or the lowest of the layers learn nothing"),
            (alike, f"--precisions are 1 number, or {layers}: of each layer's values"),
            (not memory or len(self.precisions) == 1, "--precisions are 1 number with --memory.steps"),
            (not shard, "--shard does not go with --method pc"),
            (not checkpointing, "--config.checkpointing does not go with --method pc: values are differentiated alone"),
        ]
        for holds, line in rules:
            if not holds:
                raise MlxworldError(line)

    def share(self, step: int) -> float:
        """The share of predictive coding in the update of a phase's step, 0 first."""
        return self.blend * min(1.0, step / self.blend_anneal) if self.blend_anneal else self.blend
