"""python docs/ablation.py --out runs/ablation: what each part of OpenWorld's training is good for.

`nano` on bounce, each part taken out alone, all with the same steps and several seeds; each row is measured on games
that training never saw. A figure that is there already is not made again, so a killed run goes on. The table is written
to docs/ablation.md. docs/physics.md has the command for an afternoon's GPU and for 25 minutes of one.
"""

import importlib
import json
import shlex
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from mlxworld import families, on, record
from mlxworld import train as training
from mlxworld.cli import entry
from mlxworld.data import open_frames, read_bodies
from mlxworld.errors import MlxworldError
from mlxworld.evaluate.audio import log_mel_distance
from mlxworld.evaluate.held_out import rows
from mlxworld.evaluate.physics import auc, energy_drift, position_error
from mlxworld.evaluate.video import moving_error, moving_mask
from mlxworld.files import atomic
from mlxworld.play.dream import dream
from mlxworld.play.encode import encode
from mlxworld.play.folder import model_config, read_config, read_weights

SEEN, FRAMES = 16, 80  # of a clip: frames that are seen, and all
TERMS = ("perceptual", "motion", "mel", "stft", "waveform", "pitch")  # of the tokenizer
TERMS += ("velocity", "mass", "energy", "momentum", "path", "conservation", "plausibility")  # of physics
# What is left out: flags, or a term of a learned sum, "shortcut" or the learning of the sum's weights.
FLAGS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "noise in latents": ("--config.latent.noise", "0"),
    "noise in the past": ("--config.dynamics.context-noise", "0"),
    "dropped actions": ("--config.dynamics.action-dropout", "0"),
    "averaged weights": ("--optim.ema", "0"),
    "weight decay": ("--optim.weight-decay", "0"),
    "clipping": ("--optim.clip", "inf"),
    "Muon": ("--optim.name", "adamw"),
    "longer clips": ("--dynamics.frames", "32"),
    "dropout of physics": ("--config.physics.dropout", "0"),
}
VARIANTS = (*FLAGS, *TERMS, "learned weights")
FIGURES = {
    "reconstruction": "error where it moves, reconstructed (levels)",
    "dream_1": "dreamt, frame 1",
    "dream_16": "frame 16",
    "dream_64": "frame 64",
    "sound": "log-mel distance, 64 frames (dB)",
    "position": "position error (% of the frame)",
    "energy": "energy drift (%)",
    "auc": "plausibility, AUC",
}


@dataclass(frozen=True)
class AblationConfig:
    out: Path  # folder of runs and figures
    seeds: int = 3
    steps: int = 2000  # of the tokenizer; the dynamics take twice as many, physics as many
    record_steps: int = 20000  # of bounce to train on; a fifth as many are held out
    clips: int = 32  # that a row is measured on
    backend: str = "torch"
    variants: tuple[str, ...] = VARIANTS
    flags: str = ""  # more flags of mlxworld train, for all
    docs: Path = Path("docs/ablation.md")
    jobs: int = 1  # trainings at once: one of nano leaves most of a GPU idle
    only: int = -1  # one seed of one variant, in this process


def ablate(cfg: AblationConfig) -> None:
    """All rows, then the table. Raises MlxworldError for an unknown variant, and where a training fails: what goes on
    beside it is finished, nothing more is begun."""
    if cfg.jobs < 1:
        raise MlxworldError(f"--jobs must be at least 1, got {cfg.jobs}")
    unknown = [name for name in cfg.variants if name not in VARIANTS]
    if unknown:
        raise MlxworldError(f"unknown variant {unknown[0]!r}: choose of {', '.join(VARIANTS)}")
    if cfg.only >= 0:
        figures = measure(cfg, run(cfg, cfg.variants[0], cfg.only))
        return atomic.write_text(_path(cfg, cfg.variants[0], cfg.only), json.dumps(figures) + "\n")
    for name, seed, steps in (("bounce", 0, cfg.record_steps), ("held", 1, cfg.record_steps // 5)):
        if not (cfg.out / name).is_dir():
            record.main(["bounce", "--out", str(cfg.out / name), "--steps", str(steps), "--seed", str(seed)])
        open_frames(cfg.out / name, size=size(cfg))  # decoded once, not by each of the trainings
    rows = [(name, seed) for seed in range(cfg.seeds) for name in cfg.variants]
    failed = threading.Event()

    def one(row: tuple[str, int]) -> None:
        (name, seed), command = row, [sys.executable, *sys.argv, "--variants", row[0], "--only", str(row[1])]
        if failed.is_set() or _path(cfg, name, seed).exists():
            return
        print(f"without {name}, seed {seed}", file=sys.stderr)
        if subprocess.run(command).returncode:
            failed.set()
            raise MlxworldError(f"the training without {name}, seed {seed}, has failed: see above")

    with ThreadPoolExecutor(cfg.jobs) as pool:
        list(pool.map(one, rows))
    atomic.write_text(cfg.docs, table(cfg))


def size(cfg: AblationConfig) -> int:
    """Pixels of a side, as the flags of all trainings have it."""
    return training.parse(["--data", "none", "--out", "none", *shlex.split(cfg.flags)]).config.size


def run(cfg: AblationConfig, name: str, seed: int) -> Path:
    """The folder of a training without one part, trained now where it is not done."""
    package, out = on(cfg.backend), cfg.out / f"{name.replace(' ', '-')}-{seed}"
    if (out / "samples/final.png").exists():
        return out
    uncertainty = importlib.import_module(f"{package.__name__}.models.objectives.uncertainty").Uncertainty
    uncertainty.forward = without(package, uncertainty.forward, name)
    argv = ["--data", str(cfg.out / "bounce"), "--out", str(out), "--backend", cfg.backend, "--seed", str(seed)]
    steps = {"tokenizer": cfg.steps, "dynamics": 2 * cfg.steps, "physics": cfg.steps}
    argv += [word for stage, n in steps.items() for word in (f"--{stage}.steps", str(n))]
    argv += ["--sample-minutes", "1e5", *FLAGS.get(name, ()), *shlex.split(cfg.flags)]
    training.main([*argv, "--resume"] if (out / "checkpoint.safetensors").exists() else argv)
    return out


def load(package: Any, path: Path) -> Any:
    """The model of a run."""
    folder, about = read_config(path)
    config = model_config(folder, about)
    model = families.model(package, config.family)(config)
    package.engine.load_parameters(model, read_weights(folder, about), str(folder))
    return package.engine.place(model)


def without(package: Any, forward: Any, name: str) -> Any:
    """A learned sum of losses without one of its terms; "learned weights": the plain sum."""
    ops = package.ops

    def weighed(self, losses):
        if name == "learned weights":
            return sum(losses[task] for task in self.tasks)
        if name not in self.tasks:
            return forward(self, losses)
        present = ops.array([float(task != name) for task in self.tasks], like=self.log_variance)
        loss = ops.stack([losses[task] for task in self.tasks])
        return (present * (ops.exp(-self.log_variance) * loss + self.log_variance)).sum()

    return weighed


def measure(cfg: AblationConfig, path: Path) -> dict[str, float]:
    """The figures of a run's model on games that it never saw."""
    package = on(cfg.backend)
    model, engine = load(package, path), package.engine
    store = open_frames(cfg.out / "held", size=model.cfg.size)
    bodies, index = read_bodies(cfg.out / "held", store), rows(store, cfg.clips, FRAMES)
    video, audio = store.video[index], store.sound(index)
    pictures, sounds = dream(package, model, video, audio, store.actions[index], SEEN)
    errors = moving_error(video, pictures, moving_mask(video))
    figures = {"reconstruction": float(np.nanmean(errors[:, 4:SEEN]))}
    figures |= {f"dream_{k}": float(np.nanmean(errors[:, SEEN + k - 1])) for k in (1, 16, 64)}
    heard = log_mel_distance(audio[:, SEEN:], sounds[:, SEEN:], store.info.sample_rate)
    figures["sound"] = float(np.mean(heard))
    if bodies is None or model.cfg.physics.objects == 0:
        return figures
    z = np.stack([encode(package, model, v, a) for v, a in zip(video, audio, strict=True)])
    leap = np.concatenate([z[:, :40], np.roll(z, 1, axis=0)[:, 40:]], axis=1)
    with engine.inference():
        readings, broken = (engine.numpy(model.read_physics(engine.array(x))) for x in (z, leap))
    truth = bodies.rows(index)
    width = float(np.ptp(bodies.position[..., 0]))
    figures["position"] = 100 * float(position_error(readings["position"], truth["position"], width)[4:].mean())
    figures["energy"] = 100 * energy_drift(readings["energy"][:, 4:], truth["energy"][:, 4:])
    figures["auc"] = auc(*(x["plausibility"][:, 4:].min(axis=1) for x in (readings, broken)))
    return figures


def table(cfg: AblationConfig) -> str:
    """Markdown: a row a variant, each figure its mean and standard deviation over seeds."""
    lines = [
        "# What each part of the training is good for",
        "",
        f"`nano` on bounce, {cfg.steps:,} steps of the tokenizer, {2 * cfg.steps:,} of the dynamics, {cfg.steps:,}",
        f"of physics, {cfg.seeds} seeds, {cfg.clips} clips of games that training never saw. Written by",
        "`docs/ablation.py`. An impossible clip leaps into another one. Lower is better, but for AUC.",
        "",
        f"| without | {' | '.join(FIGURES.values())} |",
        f"|---|{'---:|' * len(FIGURES)}",
    ]
    for name in cfg.variants:
        paths = [_path(cfg, name, seed) for seed in range(cfg.seeds)]
        metrics = [json.loads(path.read_text()) for path in paths if path.exists()]
        cells = [[f[key] for f in metrics if key in f] for key in FIGURES]
        lines.append(f"| {name} | {' | '.join(_shown(x) for x in cells)} |")
    return "\n".join(lines) + "\n"


def _shown(values: list[float]) -> str:
    return f"{np.mean(values):.3g} ± {np.std(values):.2g}" if values else ""


def _path(cfg: AblationConfig, name: str, seed: int) -> Path:
    return cfg.out / "figures" / f"{name.replace(' ', '-')}-{seed}.json"


if __name__ == "__main__":
    entry(lambda: ablate(tyro.cli(AblationConfig, prog="ablation")))
