"""One objective of a training step. Several turns make one step: generator and discriminator, actor and critic."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..configs.optim import OptimConfig


@dataclass(frozen=True)
class Turn:
    name: str
    loss: Callable[[Any, dict[str, Any], Any], tuple[Any, dict[str, Any]]]
    optim: OptimConfig
    trains: tuple[str, ...] = ("",)  # dotted prefixes of the parameters that it moves; "" is all of them
