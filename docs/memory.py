"""python -m docs.memory [--backend torch]: of a cue some clips ago, how often recurrent memory names it.

A small model is taught, in seconds on a CPU, to name the colour of the first picture of a stream of five, one of eight;
gradients go back through one clip, two or all five. It is asked after more clips than it learnt from, too. Control: a
memory that starts anew before the last clip, which can only guess.

python -m docs.memory --world RUN [--clips 5]: the same of a trained model on told scenes that it never saw: are all
facts of the first scene told after the last one, and, beside it, right after the first.

python -m docs.memory --train RUN --minutes 10 [--preset scenes]: teaches such a model to write what it sees and what it
has seen, and then measures, all in that time; the same command goes on after a stop.
"""

import importlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tyro

from mlxworld import Translator, on
from mlxworld import train as training
from mlxworld.cli import entry
from mlxworld.configs.omnilatent import Config
from mlxworld.configs.optim import OptimConfig
from mlxworld.data.envs.scenes import tell
from mlxworld.data.pairs.scenes import batch_of, held_out
from mlxworld.errors import MlxworldError
from mlxworld.evaluate.told import facts
from mlxworld.files import atomic
from mlxworld.play.translator import ROWS
from mlxworld.training.schedule import cosine
from mlxworld.training.turn import Turn

COLOURS = np.array([[r, g, b] for r in (40, 210) for g in (40, 210) for b in (40, 210)], np.uint8)
SIZES: dict[str, int] = {"vocab_size": 30, "max_text": 12, "bands": 8, "audio_frames": 6, "image_size": 16}
SIZES |= {"image_patch": 8, "video_size": 16, "video_patch": 8, "frames": 4, "tubelet": 2}
CONFIG = Config(hidden_dim=32, num_layers=1, num_heads=2, memory_tokens=8, **SIZES)  # pyright: ignore[reportArgumentType]
MEASURING = 1.5  # minutes


@dataclass(frozen=True)
class MemoryConfig:
    world: str | None = None  # a trained run; else the small model
    backend: str = "torch"
    clips: int = 5  # of a stream, of --world: the first is asked for after the last
    scenes: int = 100  # streams of --world
    steps: int = 120  # of the small model's training; of --train without --minutes, as many in each phase
    train: Path | None = None  # folder of a run that is trained first, and then is --world
    minutes: float | None = None  # of --train, measuring included
    preset: str = "scenes"  # of --train: or nano
    flags: tuple[str, ...] = ()  # of --train: more flags of mlxworld train, name=value
    out: Path | None = None  # file of the table


def streams(seed: Any, rows: int, clips: int = 5) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pictures (B, K, H, W, 3) uint8 of one colour each, and as "text" (B, K, 2) the colour's token and the end; the
    colours' numbers (B, K)."""
    colours, size = np.random.default_rng(seed).integers(0, len(COLOURS), (rows, clips)), CONFIG.image_size
    image = np.broadcast_to(COLOURS[colours][:, :, None, None], (rows, clips, size, size, 3)).copy()
    return {"image": image, "text": np.stack([colours + 3, np.full_like(colours, 2)], -1).astype(np.int32)}, colours


def watched(package: ModuleType, model: Any, source: str, clips: np.ndarray, forgetful: bool = False) -> Any:
    """The memory after clips (B, K, ...) uint8; forgetful: of the last of them alone."""
    state = model.memory.start(len(clips))
    for t in range(clips.shape[1] - 1 if forgetful else 0, clips.shape[1]):
        state, _ = model.remember(state, source, package.engine.array(clips[:, t].astype(np.float32) / 255))
    return state


def taught(backend: str, bptt: int, steps: int = 120) -> tuple[ModuleType, Any]:
    """The package and the small model, gradients of whose training went back through `bptt` clips."""
    package = on(backend)
    family = f"{package.__name__}.models.omnilatent"
    model = importlib.import_module(family).Model(CONFIG).init(package.random.key(0))
    loss = importlib.import_module(f"{family}.memory").recall_loss
    optim = replace(OptimConfig(name="adamw"), lr=5e-3, weight_decay=0.0)
    package.engine.place(model)
    turn = Turn("cue", lambda m, batch, key: loss(m, batch, "image", "text", bptt), optim)
    trainer = package.engine.Trainer(model, (turn,))
    for step in range(steps):
        trainer.step(streams([0, step], 16)[0], step, cosine(step, steps, 10))
    return package, model


def recall(package: ModuleType, model: Any, clips: int = 5, forgetful: bool = False) -> float:
    """Share of 256 streams of other seeds whose first colour is named after the last clip."""
    batch, colours = streams(99, 256, clips)
    with package.engine.inference():
        state = watched(package, model, "image", batch["image"], forgetful)
        named = package.engine.numpy(model.generate("memory", state, 1))
    return float((named[:, 0] == colours[:, 0] + 3).mean())


def trained(cfg: MemoryConfig) -> Path:
    """The run of --train, trained now where it is not done: words of all that is seen, then also from memory."""
    assert cfg.train is not None
    if not (cfg.train / "samples/final.txt").is_file():
        argv = ["--model", "omnilatent", "--preset", cfg.preset, "--data", "scenes", "--out", str(cfg.train)]
        argv += ["--backend", cfg.backend, "--to", "text", "--fractions", "0", "1", "--sample-minutes", "1e5"]
        argv += ["--memory.clips", str(cfg.clips), "--memory.share", "3", "--memory.batch", str(6 * cfg.clips)]
        argv += ["--memory.bptt", str(cfg.clips)]
        if cfg.minutes is None:
            argv += ["--steps", str(cfg.steps), "--memory.steps", str(cfg.steps)]
        else:
            argv += ["--minutes", f"{max(cfg.minutes - MEASURING, 0.5 * cfg.minutes)}", "--memory.steps", "1"]
        argv += [word for flag in cfg.flags for word in f"--{flag}".split("=", 1)]
        training.main([*argv, "--resume"] if (cfg.train / "checkpoint.safetensors").exists() else argv)
    return cfg.train


def told(cfg: MemoryConfig) -> dict[str, float]:
    """Share of streams of held-out scenes of which all facts of the first are told. Raises MlxworldError for a model
    without a memory."""
    translator = Translator.load(str(cfg.world), cfg.backend)
    config, package, model = translator.config, translator.package, translator.model
    if not getattr(config, "memory_tokens", 0):
        raise MlxworldError(f"{cfg.world} was trained without a memory: see --memory.steps of mlxworld train")
    if cfg.clips < 2 or cfg.scenes < 1:
        raise MlxworldError("--clips must be at least 2, --scenes at least 1")
    arms: dict[str, list[str]] = {"memory": [], "at once": [], "no memory": []}
    scenes, letters = held_out(cfg.clips * cfg.scenes, False), config.max_text
    for first in range(0, cfg.scenes, ROWS):
        own = scenes[cfg.clips * first : cfg.clips * min(first + ROWS, cfg.scenes)]
        video = batch_of(own, config.bands, letters)["video"]
        video = video.reshape(-1, cfg.clips, *video.shape[1:])
        for arm, clips in (("memory", video), ("at once", video[:, :1]), ("no memory", video[:, -1:])):
            with package.engine.inference():
                ids = package.engine.numpy(model.generate("memory", watched(package, model, "video", clips), letters))
            arms[arm] += translator.texts(ids)
    true = [facts(tell(scene)) for scene in scenes[:: cfg.clips]]
    arms["of another stream"] = arms["memory"][1:] + arms["memory"][:1]
    return {a: float(np.mean([facts(x) == y for x, y in zip(t, true, strict=True)])) for a, t in arms.items()}


def table(cfg: MemoryConfig) -> dict[str, dict[str, float]]:
    """Of each number of clips that a gradient goes back through: recall after so many clips, and of the control."""
    rows = {}
    for bptt in (1, 2, 5):
        taught_model = taught(cfg.backend, bptt, cfg.steps)
        rows[f"through {bptt}"] = {f"{n - 1} clips ago": recall(*taught_model, clips=n) for n in (2, 5, 9, 17)}
        rows[f"through {bptt}"]["4 clips ago, no memory"] = recall(*taught_model, forgetful=True)
    return rows


def main() -> None:
    """Prints the table."""
    cfg = tyro.cli(MemoryConfig, description=__doc__)
    if cfg.train is not None:
        cfg = replace(cfg, world=str(trained(cfg)))
    text = json.dumps(told(cfg) if cfg.world else table(cfg), indent=1)
    print(text)
    if cfg.out:
        atomic.write_text(cfg.out, text + "\n")


if __name__ == "__main__":
    entry(main)
