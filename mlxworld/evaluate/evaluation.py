"""All of an evaluation: dreams of held-out clips and figures of them; for a whole report also what only a long dream,
two futures of one moment or a simulator can tell. The world and its model are values here; numpy comes out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mlxworld.data import Source, Step
from mlxworld.data.envs.policies import Sticky
from mlxworld.data.envs.source import close
from mlxworld.errors import MlxworldError
from mlxworld.play.dream import dream, foresee, hear
from mlxworld.play.world import Clip, World

from . import audio as sound
from . import held_out, plausibility
from .answers import AWAY, Rollout, answer_report, return_report
from .drift import SECONDS, Segments, cut, drift_report, measure
from .figures import Clips, Pair, Report, Row
from .game import Game, open_game
from .keys import Eye, KeyReader
from .physics_report import Reading, physics_report, read_physics
from .report import WATCHED, keys, likeness, pictures, sounds
from .worlds import figures_of

WAIT = 16  # frames that an answer to a key is waited for
SITUATIONS = 24  # of answers and returns
PAIRS = 12  # of possible and impossible clips, for each law


@dataclass(frozen=True)
class EvaluateConfig:
    world: str  # a shipped world's name, or a folder
    data: Annotated[Path, tyro.conf.arg(help="a dataset that training never saw: record one with another --seed")]
    report: Path | None = None  # folder for report.html, .json and .md; without it a table of the clips is printed
    backend: str | None = None  # mlx or torch; the best one installed
    precision: str | None = None  # float32, float16 or bfloat16; the device's best
    weights: str | None = None  # quantised: int8, int4 or (MLX) mxfp8; as the world has them
    steps: int | None = None  # denoising passes a frame; what the world was made for
    clips: int = 24  # of the data, spread over its episodes; fewer where it has not as many
    context: int = 16  # frames seen before the dream
    frames: int = 0  # frames dreamt; 0: 256, or 64 or 16 where the episodes are shorter
    minutes: float = 10.0  # of the long dream of a --report; 0: none
    batch: int = 8  # clips dreamt at once
    seed: int = 0  # of all noise

    def __post_init__(self):
        if self.clips < 2 or min(self.context, self.batch) < 1 or self.frames < 0 or not 0 <= self.minutes <= 1440:
            limits = "--clips at least 2, --context and --batch at least 1, --frames at least 0"
            raise MlxworldError(f"{limits}, --minutes from 0 to 1440 are needed")


class Evaluation:
    """A world beside held-out data. `run` once; then `clips` (the truth and its dreams) may be read too."""

    clips: Clips
    actions: np.ndarray  # (N, T), of the clips

    def __init__(self, cfg: EvaluateConfig):
        """Raises MlxworldError for a world or a dataset that is not there, or a dataset that does not fit the world."""
        self.cfg = cfg
        self.world = World.load(cfg.world, cfg.backend, precision=cfg.precision, weights=cfg.weights, steps=cfg.steps)
        self.cache = held_out.cache_for(self.world, cfg.data)
        frames = cfg.frames or held_out.most_frames(self.cache, 256, cfg.context)
        self.rows = held_out.rows(self.cache, cfg.clips, cfg.context + frames)
        self._segment = held_out.segment(self.cache, round(SECONDS * self.world.fps))
        columns = TextColumn("[bold]{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left")
        self._bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
        self._task = self._bar.add_task("dreaming", total=self._work())

    def run(self) -> list[Report]:
        """Every part of a report; without --report those of the clips alone. A bar on stderr shows how far it is."""
        with self._bar:
            parts = self._of_clips()
            if self.cfg.report is not None:
                parts += self._of_world()
        return parts

    def _work(self) -> int:
        """Frames to dream, about."""
        N, T = self.rows.shape
        clips = 3 * N * T + N * min(T, self.cfg.context + WATCHED)
        if self.cfg.report is None:
            return clips
        situations = min(N, SITUATIONS) * (4 * (self.cfg.context + WAIT) + 2 * (self.cfg.context + 2 * AWAY))
        return clips + situations + round(60 * self.cfg.minutes * self.world.fps)

    def _of_clips(self) -> list[Report]:
        cache, rows, context = self.cache, self.rows, self.cfg.context
        video, audio, self.actions = cache.video[rows], cache.sound(rows), cache.actions[rows]
        actions = self.actions
        shuffled = actions.copy()
        shuffled[:, context:] = np.roll(actions, len(actions) // 2, axis=0)[:, context:]
        dreams = {
            "model": self._dream("dreaming", video, audio, actions),
            "reconstruction": self._dream("encoding and decoding", video, audio, actions, rows.shape[1]),
            "shuffled actions": self._dream("dreaming with shuffled keys", video, audio, shuffled),
        }
        state = held_out.states(cache, self.cfg.data, rows)
        about = {"actions": actions, "names": self.world.actions, "state": state}
        self.clips = Clips(video, audio, dreams, context, self.world.sample_rate, **about)
        heard = sounds(self.clips)
        heard.rows += self._silent_film()
        parts = [pictures(self.clips), heard, likeness(self.clips), keys(self.clips)]
        if self._knows_physics() and {"position", "velocity", "kinetic", "potential"} <= set(state):
            parts.append(physics_report(self.clips, self._read_physics, self.world.fps))
        own = figures_of(cache.info.source)
        return [own(self.clips), *parts] if own else parts

    def _of_world(self) -> list[Report]:
        game = self._game()
        try:
            parts = self._answers(game)
            if self.cfg.minutes:
                parts.append(self._drift())
            if game is not None and hasattr(game, "violate"):
                parts.append(self._plausible(game))
        finally:
            if game is not None:
                close(game)
        return parts

    def _knows_physics(self) -> bool:
        return getattr(self.world.model, "physics", None) is not None

    def _read_physics(self, video: np.ndarray, audio: np.ndarray) -> Reading:
        return read_physics(self.world.package, self.world.model, video, audio)

    def _game(self) -> Source | None:
        """The source of the data, where it is installed and what it gives fits the world."""
        world, source = self.world, open_game(self.cache.info.source)
        if source is None:
            return None
        same = (source.fps, source.samples, tuple(source.actions)) == (world.fps, world.samples, tuple(world.actions))
        if not same:
            close(source)
        return source if same else None

    def _silent_film(self) -> list[Row]:
        """Onsets that the model imagines to silent pictures, against the true ones; no row for one that cannot."""
        if not hasattr(self.world.model, "encode_silent"):
            return []
        package, model, end = self.world.package, self.world.model, self.cfg.context + WATCHED
        samples, seed, span = self.world.samples, self.cfg.seed, slice(self.cfg.context, end)

        def imagine(video: np.ndarray, actions: np.ndarray) -> np.ndarray:
            return hear(package, model, video, actions, samples, seed)

        parts = self._batched("hearing silent pictures", imagine, self.clips.video[:, :end], self.actions[:, :end])
        real, dreamt = (sound.onsets(x)[:, span] for x in (self.clips.audio[:, :end], np.concatenate(parts)))
        away = np.roll(dreamt, len(dreamt) // 2, 0)
        values = {"model": sound.onset_f1(real, dreamt), "another clip": sound.onset_f1(real, away), "repeat last": 0.0}
        label = f"F1 of onsets imagined to silent pictures, {real.shape[1]} frames"
        return [Row("silent_onset_f1", label, "higher", values)]

    def _answers(self, game: Source | None) -> list[Report]:
        N, context = min(SITUATIONS, len(self.rows)), self.cfg.context
        names, (video, audio) = self.world.actions, (x[:N, :context] for x in (self.clips.video, self.clips.audio))
        if len(names) < 2:
            return []

        def dreams(seed: int) -> Rollout:
            return lambda actions: self._dream("answering keys", video, audio, actions, seed=seed)

        actions = np.zeros((N, context + WAIT), self.actions.dtype)
        actions[:, :context] = self.actions[:N, :context]
        rollouts = {"model": dreams(self.cfg.seed)}
        real = {} if game is None else {"real game": Game(game, self.world.size, self.cfg.seed)}
        controls = {"other noise": dreams(self.cfg.seed + 1)}
        rate = self.world.sample_rate
        answers = answer_report(rollouts | real | controls, actions, context, names, rate)
        returns = return_report(rollouts | real, actions, context, names)
        return [answers] if returns is None else [answers, returns]

    def _drift(self) -> Report:
        clips, length, half = self.clips, self._segment, len(self.rows) // 2
        eye = Eye(clips.video[:half])
        reader = eye, KeyReader.fit(eye(clips.video[:half]), self.actions[:half], len(clips.names))
        rate, later = self.world.sample_rate, int(self.rows[half, 0])
        real = measure(held_out.segments(self.cache, length, later), rate, reader)
        if len(real.vectors) < 3:
            real = measure(held_out.segments(self.cache, length), rate, reader)
        frozen = Segments()
        frozen.add(np.repeat(clips.video[0, :1], length, 0), np.repeat(clips.audio[0, :1], length, 0), rate)
        count = max(1, round(60 * self.cfg.minutes * self.world.fps / length))
        dreamt = measure(cut(self._long(count * length), length), rate, reader)
        return drift_report(dreamt, real, frozen, self.world.fps, length)

    def _long(self, frames: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """A dream of so many frames under sticky keys: picture, sound and key."""
        context = self.cfg.context
        seen = Clip(self.clips.video[0, :context], self.clips.audio[0, :context], self.actions[0, :context])
        shown = self.world.reset(self.cfg.seed, seen)
        player = Sticky(len(self.world.actions), np.random.default_rng([self.cfg.seed, 4]))
        for _ in range(frames):
            key = player.act(Step(shown.video, shown.audio))
            shown = self.world.step(key)
            self._bar.update(self._task, description="dreaming on", advance=1)
            yield shown.video, shown.audio, key

    def _plausible(self, game: Source) -> Report:
        package, model = self.world.package, self.world.model
        given = plausibility.pairs(game, PAIRS, self.cfg.seed, size=self.world.size)

        def surprise(video: np.ndarray, audio: np.ndarray, actions: np.ndarray) -> np.ndarray:
            return plausibility.surprise(*foresee(package, model, video, audio, actions, self.cfg.seed))

        def scored(*clips: np.ndarray) -> np.ndarray:
            return np.concatenate(self._batched("seeing what cannot be", surprise, *clips))

        def doubted(video: np.ndarray, audio: np.ndarray, _: np.ndarray) -> np.ndarray:
            return 1 - self._read_physics(video, audio)["plausibility"][:, plausibility.WARM :].min(1)

        scores: dict[str, Callable[..., np.ndarray]] = {"model": scored}
        scores |= {"physics": doubted} if self._knows_physics() else {}
        return plausibility.plausibility_report(given, scores)

    def _dream(
        self,
        what: str,
        video: np.ndarray,
        audio: np.ndarray,
        actions: np.ndarray,
        context: int | None = None,
        seed: int | None = None,
    ) -> Pair:
        """Dreams (N, T) of clips: their first `context` frames are seen, the rest follows the actions."""
        context, seed = context or self.cfg.context, self.cfg.seed if seed is None else seed
        package, model = self.world.package, self.world.model

        def dreamt(video: np.ndarray, audio: np.ndarray, actions: np.ndarray) -> Pair:
            return dream(package, model, video, audio, actions, context, seed)

        videos, audios = zip(*self._batched(what, dreamt, video, audio, actions), strict=True)
        return np.concatenate(videos), np.concatenate(audios)

    def _batched(self, what: str, fn: Callable[..., Any], *clips: np.ndarray) -> list[Any]:
        """What `fn` gives for `batch` clips at once; the last of the arrays (N, T) tells how many frames they are."""
        parts = []
        for i in range(0, len(clips[0]), self.cfg.batch):
            some = [x[i : i + self.cfg.batch] for x in clips]
            self._bar.update(self._task, description=what)
            parts.append(fn(*some))
            self._bar.advance(self._task, some[-1].size)
        return parts
