"""Long dreams of a world that somebody plays by what it shows, measured by the rules of its game.

    python -m mlxworld.evaluate.free --world pong --data held --dreams 12 --frames 3000

All dreams run as one batch. Real games of --data stand beside: they are the ceiling of every figure.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track as progress

from ...cli import entry
from ...data import FrameStore, open_frames
from ...data.envs.policies import Sticky
from ...errors import MlxworldError
from ...files import atomic
from ...play.world import World
from ..figures import REAL, Report, Row
from . import Figure, Track, drift, rules_of

CHUNK = 256  # frames watched at once


@dataclass(frozen=True)
class FreeConfig:
    world: str  # a shipped world's name, or a folder
    data: Path | None = None  # real games that training never saw; without them no ceiling is printed
    player: Literal["watcher", "sticky"] = "watcher"  # who looks at the dream and plays, or holds keys as people do
    dreams: int = 12
    frames: int = 3000  # of each dream
    out: Path | None = None  # a JSON file for the figures
    backend: str | None = None  # mlx or torch; the best one installed
    precision: str | None = None  # float32, float16 or bfloat16; the device's best
    weights: str | None = None  # quantised: int8, int4 or (MLX) mxfp8; as the world has them
    steps: int | None = None  # denoising passes a frame; what the world was made for
    compile: bool | None = None  # the step; None: on a GPU
    seed: int = 0
    source: Annotated[str | None, tyro.conf.arg(help="whose rules; the world's own name, or the data's source")] = None


def main(argv: list[str] | None = None) -> None:
    cfg = tyro.cli(FreeConfig, args=argv, description=__doc__, prog="python -m mlxworld.evaluate.free")
    if min(cfg.dreams, cfg.frames) < 1:
        raise MlxworldError("--dreams and --frames must be 1 or more")
    if cfg.out is not None:
        atomic.require_writable(cfg.out)
    figures = free(cfg)
    print(figures.markdown())
    if cfg.out is not None:
        atomic.write(cfg.out, (json.dumps(figures.as_dict(), indent=1) + "\n").encode())


def free(cfg: FreeConfig) -> Report:
    """Dreams, plays, and measures dreams and real games."""
    options = {name: getattr(cfg, name) for name in ("precision", "weights", "steps", "compile")}
    world = World.load(cfg.world, cfg.backend, batch=cfg.dreams, **options)
    store = None if cfg.data is None else open_frames(cfg.data, size=world.size[0], fps=world.fps)
    source = cfg.source or (store.info.source if store else world.name)
    rules = rules_of(source)
    tracks = {"dreams": dream(world, rules, cfg)}
    if store is not None:
        tracks[REAL] = [_watch(_episode(store, span), rules) for span in store.spans()]
    rows: dict[str, Row] = {}
    facts: dict[str, Any] = {"dreams": cfg.dreams, "frames": cfg.frames, "player": cfg.player}
    facts |= {"source": source, "seed": cfg.seed}
    for name, each in tracks.items():
        for f in measure(each, rules, world.fps):
            rows.setdefault(f.key, Row(f.key, f.label, f.better, {}, f.goal)).values[name] = f.value
            facts |= {} if f.count is None else {f"{f.key} of {name}": f.count}
    if store is not None:
        sharp = {name: drift.sharpness(each) for name, each in tracks.items()}
        ratios = {name: x / max(sharp[REAL], 1e-9) for name, x in sharp.items()}
        label = "energy of the finest detail over that of real frames (wanted 0.8 to 1.2)"
        rows["detail_ratio"] = Row("detail_ratio", label, "higher", ratios)
    return Report(facts, list(rows.values()), "Free dreams")


def measure(tracks: list[Track], rules: Any, fps: float) -> list[Figure]:
    """The figures of any world, then those of its rules."""
    return drift.figures(tracks, fps) + ([] if rules is None else rules.figures(tracks, fps))


def dream(world: World, rules: Any, cfg: FreeConfig) -> list[Track]:
    """What is read of each dream of a batch, played by its own player."""
    chosen = getattr(rules, "Watcher", None) if cfg.player == "watcher" else None
    rngs = [np.random.default_rng([cfg.seed, k]) for k in range(cfg.dreams)]
    if chosen is not None:
        players = [chosen(world.actions, rng).act for rng in rngs]
    else:
        players = [Sticky(len(world.actions), rng).act for rng in rngs]
    frame = world.reset(cfg.seed)
    frames: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(cfg.dreams)]
    tracks: list[list[Track]] = [[] for _ in range(cfg.dreams)]
    for n in progress(range(cfg.frames), "dreaming", console=Console(stderr=True)):
        pictures = frame.video.reshape(cfg.dreams, *frame.video.shape[-3:])
        frame = world.step([act(picture) for act, picture in zip(players, pictures, strict=True)])
        sounds = frame.audio.reshape(cfg.dreams, -1)
        pictures = frame.video.reshape(cfg.dreams, *frame.video.shape[-3:])
        for k in range(cfg.dreams):
            frames[k].append((pictures[k], sounds[k]))
        if (n + 1) % CHUNK == 0 or n + 1 == cfg.frames:
            for k, seen in enumerate(frames):
                video, audio = (np.stack(x) for x in zip(*seen, strict=True))
                tracks[k].append(_read(video, audio, rules, bool(tracks[k])))
                frames[k] = seen[-1:]
    return [_joined(parts) for parts in tracks]


def _episode(store: FrameStore, span: tuple[int, int]) -> Callable[[int, int], tuple[np.ndarray, np.ndarray]]:
    first, last = span

    def rows(begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(first + begin, min(first + end, last))
        return np.array(store.video[part]), store.sound(part)

    return rows


def _watch(rows: Callable[[int, int], tuple[np.ndarray, np.ndarray]], rules: Any) -> Track:
    """What is read of an episode."""

    def parts() -> Iterator[Track]:
        begin = 0
        while len((pair := rows(max(begin - 1, 0), begin + CHUNK))[0]) > (begin > 0):
            yield _read(*pair, rules, begin > 0)
            begin += CHUNK

    return _joined(list(parts()))


def _read(video: np.ndarray, audio: np.ndarray, rules: Any, overlaps: bool) -> Track:
    """What is read of frames, less the first where it was read before: it is there for what follows on it."""
    readings = drift.watch(video, audio) | ({} if rules is None else rules.watch(video, audio))
    return {name: x[int(overlaps) :] for name, x in readings.items()}


def _joined(parts: list[Track]) -> Track:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


if __name__ == "__main__":
    entry(main)
