"""A world so small that it is trained in a second: its dataset, and the flags that make it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mlxworld.data import DatasetInfo, Episode, write_episode, write_info
from mlxworld.training.run import Run

FPS, S, SIZE = 10, 64, 32
ACTIONS = ("noop", "up", "down")
STAGES = {
    **{"tokenizer.steps": 6, "tokenizer.batch": 2, "tokenizer.frames": (4,)},
    **{"dynamics.steps": 6, "dynamics.batch": 4, "dynamics.frames": (4, 6)},
    **{"forcing.steps": 4, "forcing.batch": 4, "forcing.frames": (6,), "log-steps": 1},
}
MODEL = {
    **{"preset": "nano-64", "config.size": SIZE, "config.patch": 8},
    **{"config.vision.dim": 16, "config.vision.heads": 1, "config.vision.depth": 1, "config.vision.taps": (1,)},
    **{"config.audio.bands": 8, "config.audio.dim": 8},
    **{"config.latent.grid": 2, "config.latent.dim": 8, "config.latent.content": 6},
    **{
        "config.dynamics.dim": 16,
        "config.dynamics.heads": 1,
        "config.dynamics.depth": 2,
        "config.dynamics.global_every": 2,
    },
    **{"config.dynamics.local_window": 4, "config.dynamics.global_window": 8},
    **{
        "config.decoder.dim": 16,
        "config.decoder.heads": 1,
        "config.decoder.depth": 1,
        "config.decoder.channels": (8, 8, 8),
    },
}


def argv(**changed) -> list[str]:
    """The flags of a tiny training, some changed: argv(**{"dynamics.lr": 0.1})."""
    settings = MODEL | STAGES | changed
    return [w for name, value in settings.items() for w in (f"--{name}", *map(str, np.atleast_1d(value)))]


def dots(folder: Path, lengths=(40, 30), actions=ACTIONS) -> Path:
    """Episodes of a dot that wanders, with beeps; returns the folder."""
    info = DatasetInfo(FPS, S, (SIZE, SIZE), actions, "dots", "CC0-1.0")
    write_info(folder, info)
    for i, T in enumerate(lengths):
        rng = np.random.default_rng(i)
        video = np.full((T, SIZE, SIZE, 3), 60, np.uint8)
        for frame, (y, x) in zip(video, np.cumsum(rng.integers(-2, 3, (T, 2)), 0) % (SIZE - 4), strict=True):
            frame[y : y + 4, x : x + 4] = 230
        loud = (rng.random((T, 1)) < 0.2) * 0.5
        sound = (loud * np.sin(2 * np.pi * 8 * np.arange(S) / S)).astype(np.float32)
        taken = np.r_[0, rng.integers(0, len(actions), T - 1)].astype(np.int32)
        write_episode(folder, f"{i:03d}", Episode(video, sound, taken), info)
    return folder


@contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    """The training inside is interrupted, as by Ctrl-C, once it has kept a checkpoint after so many steps."""
    keep = Run._keep

    def stopping(self, index, step):
        keep(self, index, step)
        if step == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_keep", stopping)
        with pytest.raises(KeyboardInterrupt):
            yield
