"""What is taught to a model of any family that stays as it is: a latent hook (`--hook`), or adapters (`--lora`).

They join the stack of blocks that the model names by `hooked()`, and alone have gradients, moments and averages. A hook
is a file of its own; adapters are added to the weights that they stand beside when a model is saved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MlxworldError
from . import hooks, lora
from .stage import Stage

if TYPE_CHECKING:
    from .run import Run


def begin(run: "Run") -> tuple[str, ...]:
    """Adds to a run's model what its settings ask for: the names of the parameters that it brings, () where nothing is
    asked for. Raises MlxworldError for a model that says not where."""
    cfg, names = run.cfg, run.package.nn.parameters
    if not cfg.adds:
        return ()
    before = set(names(run.model))
    try:
        stack = run.model.hooked()
    except (AttributeError, TypeError) as error:
        raise MlxworldError(f"a model of the family {cfg.model} has no stack that a hook joins") from error
    if cfg.hook is not None:
        hooks.add(run.package, stack, cfg.hook, cfg.hook_tokens, cfg.model, cfg.seed)
    else:
        lora.add(run.package, stack, cfg.lora, cfg.seed)
    return tuple(name for name in names(run.model) if name not in before)


def alone(stages: Sequence[Stage], names: tuple[str, ...], adapters: bool) -> tuple[Stage, ...]:
    """The stages, of which each moves what was added, and nothing else; adapters by AdamW, as they are elsewhere."""

    def only(stage: Stage) -> Stage:
        turns = [replace(turn, trains=names) for turn in stage.turns]
        if adapters:
            turns = [replace(turn, optim=replace(turn.optim, name="adamw")) for turn in turns]
        return replace(stage, turns=tuple(turns))

    return tuple(map(only, stages)) if names else tuple(stages)


def without(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """A model's arrays by name, without hooks among what was added, and with adapters in the weights."""
    whole = {name: x for name, x in arrays.items() if name not in names or name.endswith(lora.PARTS)}
    return lora.merged(whole)


def save(run: "Run") -> None:
    """The hook alone, into the run's folder, where one is taught."""
    if run.cfg.hook is not None:
        hooks.save(run.package, run.model.hooked(), run.out)
