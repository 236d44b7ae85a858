"""What a family's `recipes/FAMILY.py` says: a class `Recipe` with these members. The folder is the registry."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import families
from ..errors import MlxworldError
from ..files import model_folder
from . import additions
from .settings import TrainConfig
from .stage import Stage

if TYPE_CHECKING:
    from .run import Run


class Recipe:
    """How a family is trained. Made from the settings, which `check` has passed, before anything is built.

    Raises MlxworldError where the data does not fit the settings.
    """

    Settings: type[TrainConfig] = TrainConfig  # the flags: the family's stages and its model's configuration
    from_data: tuple[str, ...] = ("family",)  # fields of the configuration that are no flags
    aids: tuple[str, ...] = ()  # beginnings of the names of what only training needs, which no saved model holds
    use: str = "mlxworld play --world {out}"  # what is done with a model, its run folder being {out}
    published: bool = False  # whether --from is a folder of a published model, and no preset begins fresh
    use_hook: str = "mlxworld play --world {parent}"  # and with a hook, its parent being {parent}

    config: Any  # of the model, fitted to the data
    identity: dict[str, Any]  # what must not change between a run and its resumption
    card: dict[str, Any]  # facts about the data, for the model's card

    def __init__(self, cfg: TrainConfig):
        self.cfg: Any = cfg
        if cfg.hook is not None:
            self.use = f"{self.use_hook.format(parent=cfg.from_)} --hook {{out}}/{cfg.hook}.safetensors"

    def require(self, identity: dict[str, Any]) -> None:
        """Raises MlxworldError unless the data is what a run with this `identity` began with."""
        wrong = [
            f"{key} {self.identity.get(key)}, not {value}"
            for key, value in identity.items()
            if value != self.identity.get(key)
        ]
        if wrong:
            raise MlxworldError(
                f"{self.cfg.data} is not the dataset that {self.cfg.out} began with: {', '.join(wrong)}"
            )

    def model(self, run: "Run") -> Any:
        """What is trained: a fresh model, with what --from has of it."""
        return families.built(run.package, self.config).init(run.package.random.key(run.cfg.seed))

    def begin(self, run: "Run") -> None:
        """Sets what a fresh model takes from the data: a mean frame, pretrained weights."""

    def stages(self, run: "Run") -> tuple[Stage, ...]:
        """The stages in their order."""
        raise TypeError(f"{type(self).__name__} has no stages")

    def write(self, run: "Run") -> None:
        """Writes what goes into the run's folder beside its model, which has its averages now."""

    def shipped(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The saved model's parameters, of those that were trained with, by name."""
        return {name: x for name, x in arrays.items() if not name.startswith(self.aids)}

    def save(self, run: "Run", card: Mapping[str, Any], done: bool) -> None:
        """Writes the model, with its averages, into the run's folder. done: at the end of the training."""
        nn, engine = run.package.nn, run.engine
        arrays = self.shipped(additions.without(engine.numpy(nn.parameters(run.model)), run.added))
        half = {n: x.astype(np.float16) if x.dtype == np.float32 else x for n, x in arrays.items()}
        weights = half | engine.numpy(nn.buffers(run.model))
        model_folder.save(run.out, run.out.resolve().name, self.config, weights, card, self.files(run))

    def files(self, run: "Run") -> Mapping[str, Mapping[str, Any]]:
        """Arrays that are saved beside the weights, by the name of their file."""
        return {}
