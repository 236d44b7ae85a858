"""OmniLatent, in phases, on what --data names:

- scenes: told scenes, made as they are needed; each modality again, every pair of two, last all of them

- coco: pictures with captions (--image-dir, --annotation-file); 15 % each again, 85 % all pairs; go on from that run by
--from RUN --fractions .35 .35 .3

- FOLDER: films with .srt or .txt beside them; each again 10 %, pairs 25 %, time 25 %, which words belong to which
moment 15 %, all 25 %

- synthetic: noise of the model's sizes; what fits, and how fast

Two fractions are of the phases reconstruct and joint, three of reconstruct, cross and joint, four of reconstruct,
cross, temporal and joint, five of reconstruct, cross, temporal, grounding and joint. --memory.steps adds a phase after
them: clips in streams, whose first is told from recurrent memory alone, after each of the others.

With --hook, or --lora, that alone learns, in the phase joint; --to names what is to be made, if not all is.

With --method pc each layer learns from its own error, by predictive coding (docs/predictive_coding.md): in float32, and
not compiled, unless --precision or --compile says otherwise."""

import hashlib
import importlib
import math
import sys
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

from ..configs.omnilatent import SPAN, OmniLatentConfig, preset_of
from ..configs.predictive_coding import PredictiveCodingConfig
from ..data.pairs.batches import Batches, Pairs
from ..data.pairs.noise import Noise
from ..data.pairs.opening import open_pairs
from ..data.pairs.scenes import ToldScenes, batch_of, held_out
from ..errors import MlxworldError
from ..evaluate.strip import save_png
from ..files import atomic
from ..play.folder import read_config
from ..text import pieces
from ..text.bytes import Bytes
from ..text.rows import texts
from ..text.tokenizer import Tokenizer
from ..training.recipe import Recipe as BaseRecipe
from ..training.settings import StageConfig, TrainConfig
from ..training.stage import Batch, Stage
from ..training.turn import Turn
from ..training.worlds import lies_inside

if TYPE_CHECKING:
    from ..training.run import Run

Pair = tuple[str, str]
PLANS = {
    2: ("reconstruct", "joint"),
    3: ("reconstruct", "cross", "joint"),
    4: ("reconstruct", "cross", "temporal", "joint"),
    5: ("reconstruct", "cross", "temporal", "grounding", "joint"),
}
FRACTIONS = {"scenes": (0.1, 0.6, 0.3), "coco": (0.15, 0.85), "synthetic": (0.1, 0.6, 0.3)}
OF_FILMS = (0.1, 0.25, 0.25, 0.15, 0.25)
GROUNDING = 5.0  # times the weight of InfoNCE, where other moments of the same film are among the wrong ones
MOST_CLIPS = 256  # of a film in turn
TOKENS = 8  # of a memory
NUMBERED = (*PLANS[5], "memory")  # each phase has seeds of its own
SHARE = "share of predictive coding"  # the name that it has in a batch, the same number for each row
LATER = 1 << 40  # the number of the batch that samples are made of: training never comes to it


@dataclass(frozen=True)
class Phase(StageConfig):
    """A stage of so many steps and so long clips as its recipe says, unless they are given."""

    steps: int | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """what --fractions leave it of --steps"""
    batch: int = 32
    frames: tuple[int, ...] = ()
    lr: float = 1e-3
    share: tyro.conf.Suppress[float] = 1.0  # --fractions say it


@dataclass(frozen=True)
class Streams(Phase):
    """A stage of clips in streams; off unless it is given steps."""

    steps: int | None = 0
    batch: int = 30  # clips a step, of all streams
    lr: float = 5e-4
    share: float = 0.25  # of the time that --minutes gives, where all other phases together have 1
    clips: int = 5  # of a stream: the one that is told, and those that come after it
    bptt: int = 5  # clips that a gradient goes back through, at least 2
    tokens: int | None = None  # of the memory; 8, or as --from has


@dataclass(frozen=True)
class Settings(PredictiveCodingConfig, TrainConfig):
    preset: str = "scenes"
    image_dir: Path | None = None  # of --data coco
    annotation_file: Path | None = None  # of --data coco
    fps: float | None = None  # frames a second of films; as their folder says, else 8
    tokenizer: str | None = None  # bytes, sentencepiece (taught from the data) or a FILE.model; bytes, or as --from has
    steps: int = 10000  # in all, where there is no --minutes
    fractions: Annotated[tuple[float, ...], tyro.conf.arg(metavar="FLOAT FLOAT ...")] = ()  # of the phases; see above
    to: tuple[Literal["text", "audio", "image", "video"], ...] = ()  # modalities that are learnt to be made; all
    contrast: float = 0.2  # weight of InfoNCE, in all phases but the first
    clips: int = 8  # of a film in turn, in the temporal phase and after it
    reconstruct: Phase = field(default_factory=Phase)
    cross: Phase = field(default_factory=Phase)
    temporal: Phase = field(default_factory=Phase)
    grounding: Phase = field(default_factory=lambda: Phase(batch=32, lr=5e-4))
    joint: Phase = field(default_factory=lambda: Phase(lr=5e-4))
    memory: Streams = field(default_factory=Streams)
    config: OmniLatentConfig = field(default_factory=lambda: preset_of("scenes"))

    @property
    def plan(self) -> dict[str, float]:
        """The phases with their fractions of the steps or of the time. Raises MlxworldError for a number of fractions
        that is no plan."""
        fractions = self.fractions or ((0.0, 1.0) if self.adds else FRACTIONS.get(self.data, OF_FILMS))
        if len(fractions) not in PLANS or not (min(fractions) >= 0 and 0 < sum(fractions) < math.inf):
            raise MlxworldError("--fractions are 2, 3, 4 or 5 numbers from 0 up, not all of them 0")
        return {n: x / sum(fractions) for n, x in zip(PLANS[len(fractions)], fractions, strict=True)}

    def planned(self) -> "Settings":
        """With the steps of each phase, its share of the time, and how long its clips are."""
        plan, phases = self.plan, {}
        for name, phase in self.stages():
            share = plan.get(name, 0.0)
            steps = (round(self.steps * share) if share else 0) if phase.steps is None else phase.steps
            frames = phase.frames or (self.config.frames,)
            phases[name] = replace(phase, steps=steps, share=share or phase.share, frames=frames)
        return replace(self, **phases)

    def resolved(self, on_gpu: bool) -> "Settings":
        fast = on_gpu and self.method == "backprop"  # a graph of T passes takes too long to compile
        return super().resolved(fast).planned()

    def check(self) -> None:
        if self.steps < 1 or self.contrast < 0 or (self.fps is not None and not 0.1 <= self.fps <= 500):
            raise MlxworldError("--steps must be at least 1, --contrast at least 0, and --fps from 0.1 to 500")
        if not 2 <= self.clips <= MOST_CLIPS:
            raise MlxworldError(f"--clips lies between 2 and {MOST_CLIPS}")
        if self.adds and self.tokenizer is not None:
            raise MlxworldError("--tokenizer does not go with --hook or --lora: --from reads by its own")
        planned = self.planned()
        if self.method == "pc":
            given = self.shard, self.config.checkpointing, bool(self.memory.steps)
            self.require_layers(self.config.num_layers + 1, *given)
        for name, phase in planned.stages():
            if phase.frames != (self.config.frames,):
                raise MlxworldError(f"--{name}.frames is {self.config.frames}: as many as the model's videos have")
            given = getattr(self, name).steps
            if self.minutes is not None and given and name in self.plan:
                raise MlxworldError(f"--minutes plans the steps: leave out --{name}.steps (0 leaves the phase out)")
            if self.minutes is not None and given is None:
                planned = replace(planned, **{name: replace(phase, steps=0)})
        super(Settings, planned).check()
        memory = self.memory
        if not 2 <= memory.bptt <= memory.clips:
            raise MlxworldError("--memory.clips must be at least 2, and --memory.bptt from 2 to --memory.clips")
        if memory.batch % (memory.clips * memory.accumulate):
            raise MlxworldError("--memory.batch must be a multiple of --memory.clips, times --memory.accumulate")
        if memory.tokens is not None and not 1 <= memory.tokens <= SPAN:
            raise MlxworldError(f"--memory.tokens lies between 1 and {SPAN}")


class Recipe(BaseRecipe):
    Settings = Settings
    cfg: Settings
    from_data = ("family", "fps", "sample_rate", "timeline", "memory_tokens")
    use = 'mlxworld play --world {out}, or mlxworld evaluate --world {out} --model-mode file --input "a red ball"'
    _timed: list[tuple[int, float]]  # steps of the present phase, and when they began
    _pairs: dict[str, tuple[Pair, ...]]  # of each phase

    def __init__(self, cfg: Settings, data: Pairs | None = None):
        """data: what is learnt from, if it is open already."""
        super().__init__(cfg)
        self.config = cfg.config
        self.data = self._opened() if data is None else data
        for note in self.data.notes:
            print(f"{cfg.data}: {note}", file=sys.stderr)
        plan = [name for name, phase in cfg.planned().stages() if phase.steps]
        self._require_clips(cfg, plan)
        self._timed_films = "temporal" in plan
        self.config = replace(self.config, timeline=self._timed_films or self.config.timeline)
        if "memory" in plan:
            self.config = replace(self.config, memory_tokens=cfg.memory.tokens or self.config.memory_tokens or TOKENS)
        self.tokenizer = self._tokenizer()
        pieces.require_fit(self.tokenizer, self.config.vocab_size, cfg.tokenizer or "the tokenizer")
        self.data.tokenizer = self.tokenizer
        blob = self.tokenizer.blob if isinstance(self.tokenizer, pieces.WordPieces) else b""
        self.identity = self.data.identity | {"tokenizer": hashlib.sha256(blob).hexdigest()[:16] if blob else "bytes"}
        self.card = self.data.card
        self._timed, self._pairs = [], {}

    def begin(self, run: "Run") -> None:
        """The tokenizer goes into the run's folder, where whoever uses the model finds it."""
        if run.engine.rank() == 0:
            if isinstance(self.tokenizer, pieces.WordPieces):
                atomic.write(run.out / pieces.FILE, self.tokenizer.blob)
            else:
                (run.out / pieces.FILE).unlink(missing_ok=True)

    def stages(self, run: "Run") -> tuple[Stage, ...]:
        losses, temporal, memory = (self._module(run, f"omnilatent.{n}") for n in ("losses", "temporal", "memory"))
        there = self.data.modalities
        to = [m for m in there if not self.cfg.to or m in self.cfg.to]
        same, cross = tuple((m, m) for m in to), tuple((a, b) for a in there for b in to if a != b)
        silent = tuple(p for p in same + cross if "text" not in p)
        spoken = tuple(p for p in cross if "text" in p) or cross
        contrast, n = self.cfg.contrast, self.cfg.clips
        after = {"objective": losses.pairs_loss}  # what is learnt of time is not forgotten in the phases to come
        if self._timed_films:
            after = {"objective": partial(temporal.temporal_loss, clips=n), "beside": n}
        c = self.cfg.memory
        streams = partial(memory.streams_loss, clips=c.clips, **self._told, bptt=c.bptt)
        return (
            self._stage(run, "reconstruct", same, 0.0, losses.pairs_loss),
            self._stage(run, "cross", cross, contrast, losses.pairs_loss),
            self._stage(run, "temporal", silent, contrast, partial(temporal.temporal_loss, clips=n), clips=n),
            self._stage(run, "grounding", spoken, GROUNDING * contrast, clips=2, **after),
            self._stage(run, "joint", same + cross, contrast, **after),
            self._stage(run, "memory", same + cross, contrast, streams),
        )

    def _stage(
        self,
        run: "Run",
        name: str,
        pairs: tuple[Pair, ...],
        contrast: float,
        objective: Any,
        clips: int = 1,
        beside: int = 1,
    ) -> Stage:
        """A phase: an objective over pairs of modalities, on so many clips of a film in turn, and as many beside."""
        cfg, c = self.cfg, getattr(self.cfg.planned(), name)
        seed, self._pairs[name] = cfg.seed * 8 + NUMBERED.index(name), pairs
        if c.steps and not pairs:
            raise MlxworldError(f"--data {cfg.data} has nothing that the phase {name} makes: see --to and --fractions")

        def backprop(model, batch, key):
            return objective(model, batch, pairs, contrast)

        def coding(model, batch, key):
            share = batch[SHARE].mean() if cfg.blend_anneal else cfg.blend
            return coded(lambda relay: objective(model, batch, pairs, contrast, relay=relay), cfg, share)

        coded = self._module(run, "objectives.predictive_coding").predictive_coding

        def batches(start: int) -> Batches:
            return Batches(self.data, c.batch, seed, start, clips, beside)

        def extended(batch: Batch, step: int) -> Batch:
            if self._is_noise:
                self._clock(step)
            return batch | {SHARE: np.full(c.batch, cfg.share(step), np.float32)} if cfg.blend_anneal else batch

        turn = Turn(name, coding if cfg.method == "pc" else backprop, replace(cfg.optim, lr=c.lr))
        parts = {"sample": lambda path: self.sample(run, path), "extend": extended}
        return Stage(name, c.steps, (turn,), (batches,), c.accumulate, c.share, **parts)

    @property
    def _is_noise(self) -> bool:
        return isinstance(self.data, Noise)

    def _opened(self) -> Pairs:
        """The data that the flags name. Raises MlxworldError for what is none."""
        cfg = self.cfg
        if Path(cfg.data).is_dir() and lies_inside(cfg.out, Path(cfg.data)):
            raise MlxworldError(f"--out {cfg.out} lies inside the dataset {cfg.data}")
        pictures, fps = cfg.cache or cfg.out / "cache", cfg.config.fps if cfg.adds and cfg.fps is None else cfg.fps
        data, rates = open_pairs(cfg.config, cfg.data, cfg.image_dir, cfg.annotation_file, fps, cfg.cache, pictures)
        for name, rate in rates.items():
            if cfg.adds and rate != (own := getattr(cfg.config, name)):
                raise MlxworldError(f"--data {cfg.data} has a {name} of {rate:g}, and --from {cfg.from_} {own:g}")
        self.config = replace(self.config, **rates)
        return data

    def _require_clips(self, cfg: Settings, plan: list[str]) -> None:
        """Raises MlxworldError where a phase needs more clips of a film in turn than there are, or their words."""
        data = self.data
        if "grounding" in plan and not (data.clips_told and data.clips > 1):
            raise MlxworldError(
                f"--data {cfg.data} has no film of two clips ({2 * self.config.seconds:g} s) with words of their own, "
                "as grounding needs: give 2, 3 or 4 --fractions"
            )
        if "temporal" in plan and data.clips < cfg.clips:
            seconds, fewer = cfg.clips * self.config.seconds, f"--clips {data.clips}, or " if data.clips > 1 else ""
            raise MlxworldError(
                f"--data {cfg.data} has no film of {cfg.clips} clips ({seconds:g} s), as temporal needs: give {fewer}"
                "2 or 3 --fractions"
            )
        for name in (n for n in ("temporal", "grounding", "joint") if n in plan):
            clips = math.lcm(cfg.clips if "temporal" in plan else 1, 2 if name == "grounding" else 1)
            phase = getattr(cfg, name)
            if phase.batch % (clips * phase.accumulate):
                times = f", times --{name}.accumulate" if phase.accumulate > 1 else ""
                raise MlxworldError(f"--{name}.batch must be a multiple of {clips}{times}")

    def _tokenizer(self) -> Tokenizer:
        """What makes ids of texts: of a run that is resumed, its own."""
        cfg, name = self.cfg, self.cfg.tokenizer
        if cfg.resume and (cfg.out / pieces.FILE).is_file():
            return pieces.load(cfg.out / pieces.FILE)
        if name is None:
            return pieces.of_run(read_config(cfg.from_)[0]) if cfg.from_ else Bytes()
        if name == "bytes":
            return Bytes()
        if name == "sentencepiece":
            blob = pieces.teach(self.data.texts(), self.config.vocab_size)
            return pieces.WordPieces(blob, "the tokenizer")
        if not Path(name).is_file():
            raise MlxworldError(f"--tokenizer {name}: no such file; or give bytes, or sentencepiece")
        return pieces.load(Path(name))

    def _module(self, run: "Run", name: str) -> Any:
        """models/NAME as it runs on the run's backend."""
        return importlib.import_module(f"{run.package.__name__}.models.{name}")

    def _clock(self, step: int) -> None:
        """Notes when a step began: the last phase's speed is told at its end."""
        self._timed = self._timed if step else []
        self._timed.append((step, time.perf_counter()))

    def sample(self, run: "Run", path: Path) -> None:
        """PATH.png: pictures of the data, and under each what the model draws from its text; PATH.txt: what it writes
        of each picture, under what is so, and last what a memory that has seen all of them writes of the first. Of
        noise: PATH.txt, how fast it was learnt from."""
        if self._is_noise:
            return self._tell_speed(run, path)
        engine, c = run.engine, self.config
        if isinstance(self.data, ToldScenes):
            batch = batch_of(held_out(4, False), c.bands, c.max_text, self.tokenizer)
        else:
            batch = self.data.batch(np.random.default_rng([self.cfg.seed, LATER]), 4)
        image, source = engine.array(batch["image"].astype(np.float32) / 255), "text" if "text" in batch else "image"
        given = engine.array(batch["text"]) if source == "text" else image
        with engine.inference():
            drawn = engine.numpy(run.model(source, given, "image")["output"]).astype(np.float32)
            told = engine.numpy(run.model.generate("image", image, c.max_text)) if source == "text" else None
        if told is not None and c.memory_tokens:
            told, batch["text"] = np.concatenate([told, self._recalled(run, batch)]), batch["text"][[0, 1, 2, 3, 0]]
        drawn = (255 * drawn.clip(0, 1) + 0.5).astype(np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [np.concatenate(list(x), axis=1) for x in (batch["image"], drawn)]
        save_png(path.with_name(f"{path.name}.png"), np.concatenate(rows))
        if told is not None:
            both = zip(texts(batch["text"], self.tokenizer), texts(told, self.tokenizer), strict=True)
            lines = [f"{a}\n  {b}\n" for a, b in both]
            atomic.write_text(path.with_name(f"{path.name}.txt"), "".join(lines))

    def _recalled(self, run: "Run", batch: Batch) -> np.ndarray:
        """The ids (1, T) that memory writes of the first row, when it has seen them all as one stream."""
        engine, model, source = run.engine, run.model, self._told["source"]
        with engine.inference():
            state, clips = model.memory.start(1), engine.array(batch[source].astype(np.float32) / 255)
            for i in range(len(batch[source])):
                state, _ = model.remember(state, source, clips[i : i + 1])
            return engine.numpy(model.generate("memory", state, self.config.max_text))

    @property
    def _told(self) -> dict[str, str]:
        """As what clips go into memory, and as what the first of them comes out."""
        there = self.data.modalities
        return {"source": "video" if "video" in there else "image", "target": "text" if "text" in there else "image"}

    def _tell_speed(self, run: "Run", path: Path) -> None:
        """How many rows and tokens a second the last phase learnt from, and the most memory that was held."""
        if len(self._timed) < 4:
            return
        run.engine.numpy(run.package.nn.parameters(run.model))  # waits for the device
        half = self._timed[len(self._timed) // 2 :]
        name = [n for n, phase in self.cfg.planned().stages() if phase.steps][-1]
        phase: Phase = getattr(self.cfg, name)
        rate = phase.batch * len(half) / (time.perf_counter() - half[0][1])
        lengths = {"text": self.config.max_text, "audio": self.config.audio_frames // 2}
        lengths |= {"image": self.config.image_tokens, "video": self.config.video_tokens}
        pairs = self._pairs[name]
        tokens = sum(lengths[a] + lengths[b] for a, b in pairs)
        peak = run.engine.memory()["peak"]
        speed = f"{rate:.3g} rows/s of {len(pairs)} pairs, {rate * tokens:,.0f} tokens/s"
        line = f"{name}: {speed}; memory at most {peak / 1e9:.2f} GB"
        run.monitor.say(line)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path.with_name(f"{path.name}.txt"), f"{line}\n")
