"""What every world's configuration says: what goes in and comes out at each frame."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from ..errors import MlxworldError
from .actions import ActionSpace

FASTEST = 500  # frames a second: a frame's sound is too short to be learnt beyond
LARGEST = 4096  # pixels of a side
MOST_SAMPLES = 1 << 20  # of a frame, and of a second


def require_rates(fps: float, samples: int, size: tuple[int, int], source: str) -> None:
    """Raises MlxworldError, naming `source`, for frames a second, samples of a frame or a size that nothing has."""
    values = {"fps": (fps, FASTEST), "samples": (samples, MOST_SAMPLES)}
    values |= {"size": (max(size), LARGEST)} | ({"size": (min(size), LARGEST)} if min(size) < 1 else {})
    for name, (value, most) in values.items():
        if not 1 <= value <= most:
            raise MlxworldError(f"{source}: {name} must be from 1 to {most}, not {value}")
    if fps * samples != round(fps * samples):
        raise MlxworldError(f"{source}: fps times samples must be a whole number, not {fps * samples:g}")
    if fps * samples > MOST_SAMPLES:
        raise MlxworldError(
            f"{source}: fps times samples must be at most {MOST_SAMPLES} a second, not {fps * samples:.0f}"
        )


@dataclass(frozen=True)
class WorldConfig:
    family: str
    size: int = 128  # height and width in pixels
    fps: int | float = 30  # frames a second: 17.5 is one
    sample_rate: int = 30720  # samples a second
    samples: int = 1024  # S, samples of a frame
    actions: tuple[str, ...] = ("noop", "up", "down")
    buttons: tuple[str, ...] = ()  # with axes: what an action's row is made of; none: an action is an index
    axes: tuple[str, ...] = ()

    def __post_init__(self):
        require_rates(self.fps, self.samples, (self.size, self.size), type(self).__name__)
        if not 1 <= self.sample_rate <= MOST_SAMPLES:
            name, most = type(self).__name__, MOST_SAMPLES
            raise MlxworldError(f"{name}: sample_rate must be from 1 to {most}, not {self.sample_rate}")

    @property
    def action_space(self) -> ActionSpace:
        """What an action is."""
        return ActionSpace(self.actions, self.buttons, self.axes)

    @property
    def latent_shape(self) -> tuple[int, int]:
        """K, tokens of a frame, and D, their width."""
        raise TypeError(f"{type(self).__name__} has no latents")

    @property
    def action_tables(self) -> tuple[str, ...]:
        """Names of the arrays that have a row for each action, in order, and perhaps more rows after them."""
        return ()

    @property
    def receptive_field(self) -> int:
        """Frames of the past that a latent depends on."""
        return 0

    @property
    def context_frames(self) -> int:
        """Frames of the past that the next one depends on: as many of a beginning are needed, more are not."""
        return 1

    @property
    def passes(self) -> int:
        """Passes of the dynamics a frame."""
        return 1

    @property
    def bodies(self) -> int:
        """Bodies whose physics the model reads from each frame's latents (`read_physics`); 0: it reads none."""
        return 0

    @property
    def kv_cache(self) -> str:
        """How keys and values of the past are kept: float, or int8."""
        return "float"

    def fitted(
        self, space: ActionSpace | tuple[str, ...], fps: float, sample_rate: int, samples: int, **more: Any
    ) -> Self:
        """This model for a dataset: its actions (named ones alone may be given by their names) and rates."""
        space = space if isinstance(space, ActionSpace) else ActionSpace(space)
        actions: dict[str, Any] = {"actions": space.names, "buttons": space.buttons, "axes": space.axes}
        return dataclasses.replace(self, fps=fps, sample_rate=sample_rate, samples=samples, **actions, **more)

    def played(self, steps: int | None = None, kv_cache: str | None = None) -> Self:
        """This model with other passes a frame, or another cache, where it has them. None is as it is."""
        for name, value, own in (("steps", steps, self.passes), ("kv_cache", kv_cache, self.kv_cache)):
            if value not in (None, own):
                raise MlxworldError(f"{name} of a world of family {self.family} is {own}, not {value}")
        return self


def require_world(config: Any, source: str) -> WorldConfig:
    """The configuration itself. Raises MlxworldError for that of a model which is no world."""
    if not isinstance(config, WorldConfig):
        raise MlxworldError(f"{source}: a model of family {config.family} is no world to play in")
    return config
