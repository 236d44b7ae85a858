"""How weights are moved: AdamW or Muon."""

from dataclasses import dataclass

from ..errors import MlxworldError


@dataclass(frozen=True)
class OptimConfig:
    name: str = "adamw"  # adamw, or muon (hidden matrices by Muon, the rest by AdamW)
    lr: float = 3e-4  # peak learning rate; Muon's updates are scaled to AdamW's size, so one rate serves both
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.01  # decoupled, on matrices only
    momentum: float = 0.95  # Muon's
    clip: float = 1.0  # largest global gradient norm; inf: no clipping
    ema: float = 0.999  # decay of the averaged weights, which are what is evaluated and shipped

    def __post_init__(self):
        rules = [
            (self.name in ("adamw", "muon"), "name is adamw or muon"),
            (self.lr >= 0 and self.weight_decay >= 0, "lr and weight_decay must not be negative"),
            (self.eps > 0 and self.clip > 0, "eps and clip must be positive"),
            (all(0 <= x < 1 for x in (self.beta1, self.beta2, self.momentum)), "beta1, beta2, momentum lie in [0, 1)"),
            (0 <= self.ema <= 1, "ema lies in [0, 1]"),
        ]
        for holds, message in rules:
            if not holds:
                raise MlxworldError(f"OptimConfig: {message}")

    def rule(self, role: str | None, ndim: int) -> str:
        """What moves a parameter: "muon", "decay" (AdamW with weight decay) or "plain" (AdamW without).

        Muon takes the matrices and kernels of hidden layers: those whose role is neither "embedding" nor "head".
        """
        if ndim < 2:
            return "plain"
        return "muon" if self.name == "muon" and role in (None, "residual") else "decay"

    def averaging(self, step: int) -> float:
        """Decay of the averaged weights at `step` (0 first): short at the start, when the weights still move fast."""
        return min(self.ema, (1 + step) / (10 + step))
