"""One objective of a training step, and a batch cut in parts. Several turns make one step: generator and
discriminator, actor and critic."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..configs.optim import OptimConfig
from ..errors import MlxworldError


@dataclass(frozen=True)
class Turn:
    """loss(model, batch, key) -> (scalar, dict of scalars), written on ops, gets the whole model."""

    name: str
    loss: Callable[[Any, dict[str, Any], Any], tuple[Any, dict[str, Any]]]
    optim: OptimConfig
    trains: tuple[str, ...] = ("",)  # dotted beginnings of the names of the parameters that it moves; "" is all

    def chosen(self, names: Iterable[str]) -> list[str]:
        """Those of the parameters' names that it moves. Raises MlxworldError where there are none."""
        own = [name for name in names if name.startswith(self.trains)]
        if not own:
            raise MlxworldError(
                f"turn {self.name!r} trains nothing: no parameter is named {' or '.join(self.trains)}..."
            )
        return own


def labelled(metrics: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Metrics of each turn as those of the step: of one turn as they are, of several "TURN/NAME", and "loss", "finite"
    of the step."""
    if len(metrics) == 1:
        return next(iter(metrics.values()))
    rows = {f"{turn}/{name}": x for turn, row in metrics.items() for name, x in row.items() if name != "finite"}
    loss, finite = 0, 1
    for row in metrics.values():
        loss, finite = loss + row["loss"], finite * row["finite"]
    return {"loss": loss, **rows, "finite": finite}


def cut(batch: dict[str, Any], n: int) -> list[dict[str, Any]]:
    """The batch, arrays of any kind, in n parts of B / n, as views. Raises MlxworldError when n does not divide B."""
    sizes = {len(x) for x in batch.values()}
    if len(sizes) != 1 or min(sizes) % n or not min(sizes):
        raise MlxworldError(f"a batch of {'/'.join(map(str, sorted(sizes)))} cannot be cut in {n} equal parts")
    size = sizes.pop() // n
    return [{name: x[i * size : (i + 1) * size] for name, x in batch.items()} for i in range(n)]
