"""python docs/remedies.py --out runs/remedies: what each remedy does against what is known of Pong's dreams.

The same training with each change alone, some side by side; each is measured on games of a player and of seeds that
training never saw: clips whose truth is known, and long dreams by the rules of the game. A figure that is there already
is not made again. The table is written to docs/remedies.md. docs/worlds.md has the command for an hour's GPU.
"""

import json
import shlex
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tyro

from mlxworld import record
from mlxworld import train as training
from mlxworld.cli import entry
from mlxworld.data import open_frames
from mlxworld.errors import MlxworldError
from mlxworld.evaluate.evaluation import EvaluateConfig, Evaluation
from mlxworld.evaluate.figures import REAL
from mlxworld.evaluate.free.__main__ import FreeConfig, free
from mlxworld.files import atomic

REMEDIES: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "a finer grid (8x8)": ("--config.latent.grid", "8"),
    "learned queries": ("--config.latent.layout", "queries"),
    "more noise on the past": ("--config.dynamics.context-noise", "0.15"),
    "swapped tokens of the past": ("--config.dynamics.context-swap", "0.15"),
    "self forcing, 1 own frame": ("--forcing.steps", "{half}", "--own-frames", "1"),
    "self forcing, 4 own frames": ("--forcing.steps", "{half}", "--own-frames", "4"),
    "rare moments": ("--rare", "0.3"),
    "a critic of pictures": ("--sharpen.steps", "{half}"),
    "twice as long": ("--tokenizer.steps", "{twice}", "--dynamics.steps", "{twice}"),
}
FIGURES = {  # of clips, then of free dreams
    "paddle_near": "paddle within 4 px, 64 frames",
    "paddle_at": "within 2 px",
    "ball_near": "ball within 8 px, 16 frames",
    "onset_f1_long": "onsets F1, 64 frames",
    "paddle_gone": "longest without a paddle (s)",
    "paddle_seen": "paddle seen",
    "returned_when_hit": "a ball that is hit returns",
    "bounce_heard": "bounces heard",
    "score_legal": "scores by the rules",
    "point_counted": "points counted",
    "game_ends": "games end and begin",
    "detail_ratio": "finest detail beside real",
}


@dataclass(frozen=True)
class RemediesConfig:
    out: Path  # folder of data, runs and figures
    steps: int = 4000  # of the tokenizer; the dynamics take twice as many
    record_steps: int = 160_000  # of Pong to train on; a tenth as many are held out
    clips: int = 64
    dreams: int = 12
    frames: int = 3000  # of each dream
    backend: str = "torch"
    remedies: tuple[str, ...] = tuple(REMEDIES)
    flags: str = ""  # more flags of mlxworld train, for all
    docs: Path = Path("docs/remedies.md")
    jobs: int = 1  # trainings at once
    only: bool = False  # one remedy, in this process


def main(cfg: RemediesConfig) -> None:
    """All rows, then the table. Raises MlxworldError for an unknown remedy, and where a training fails."""
    if unknown := [name for name in cfg.remedies if name not in REMEDIES]:
        raise MlxworldError(f"unknown remedy {unknown[0]!r}: choose of {', '.join(REMEDIES)}")
    if cfg.jobs < 1 or cfg.steps < 2:
        raise MlxworldError("--jobs must be at least 1 and --steps at least 2")
    if cfg.only:
        train(cfg, cfg.remedies[0])
        atomic.write_text(_path(cfg, cfg.remedies[0]), json.dumps(measure(cfg, cfg.remedies[0])) + "\n")
        return
    recordings = (("pong", cfg.record_steps, 0, ()), ("held", cfg.record_steps // 10, 9000, ("--policy", "other")))
    for name, steps, seed, more in recordings:
        if not (cfg.out / name).is_dir():
            argv = ["pong", "--out", str(cfg.out / name), "--steps", str(steps), "--seed", str(seed), "--across"]
            record.main([*argv, *more])
        open_frames(cfg.out / name, size=_settings(cfg).config.size)  # decoded once, not by each of the trainings
    failed = threading.Event()

    def one(name: str) -> None:
        command = [sys.executable, *sys.argv, "--remedies", name, "--only"]
        if failed.is_set() or _path(cfg, name).exists():
            return
        print(f"with {name}", file=sys.stderr)
        if subprocess.run(command).returncode:
            failed.set()
            raise MlxworldError(f"the training with {name} has failed: see above")

    with ThreadPoolExecutor(cfg.jobs) as pool:
        list(pool.map(one, cfg.remedies))
    atomic.write_text(cfg.docs, table(cfg))


def _settings(cfg: RemediesConfig):
    return training.parse(["--data", "none", "--out", "none", *shlex.split(cfg.flags)])


def train(cfg: RemediesConfig, name: str) -> None:
    """The training with one remedy, unless it is done; one that was killed goes on."""
    out, numbers = _run(cfg, name), {"half": str(cfg.steps // 2), "twice": str(2 * cfg.steps)}
    if (out / "samples/final.png").exists():
        return
    argv = ["--data", str(cfg.out / "pong"), "--out", str(out), "--backend", cfg.backend, "--sample-minutes", "1e5"]
    argv += ["--tokenizer.steps", str(cfg.steps), "--dynamics.steps", str(2 * cfg.steps), *shlex.split(cfg.flags)]
    argv += [word.format(**numbers) for word in REMEDIES[name]]
    training.main([*argv, "--resume"] if (out / "checkpoint.safetensors").exists() else argv)


def measure(cfg: RemediesConfig, name: str) -> dict[str, dict[str, float]]:
    """Each figure of a run's world, and the same of real games where there is one."""
    world, held = str(_run(cfg, name)), cfg.out / "held"
    clips = Evaluation(EvaluateConfig(world, held, backend=cfg.backend, clips=cfg.clips, frames=64)).run()[0]
    dreams = free(FreeConfig(world, held, dreams=cfg.dreams, frames=cfg.frames, backend=cfg.backend, source="pong"))
    figures = {}
    for report, dreamt in ((clips, "model"), (dreams, "dreams")):
        for row in report.rows:
            if row.key in FIGURES:
                figures[row.key] = {"dream": row.values[dreamt], "real": row.values[REAL]}
    return figures


def table(cfg: RemediesConfig) -> str:
    """Markdown: a row a figure, a column a remedy, real games first."""
    rows = {name: json.loads(_path(cfg, name).read_text()) for name in cfg.remedies if _path(cfg, name).exists()}
    lines = [
        "# What each remedy does to Pong's dreams",
        "",
        f"`nano`, {cfg.steps:,} steps of the tokenizer and {2 * cfg.steps:,} of the dynamics from nothing, each change",
        f"alone; {cfg.clips} clips and {cfg.dreams} dreams of {cfg.frames:,} frames of games and of a player that",
        "training never saw. Written by `docs/remedies.py`.",
        "",
        f"| with | {' | '.join(FIGURES.values())} |",
        f"|---|{'---:|' * len(FIGURES)}",
    ]
    if rows:
        real = next(iter(rows.values()))
        lines.append(f"| *real games* | {' | '.join(_shown(real, key, 'real') for key in FIGURES)} |")
    lines += [f"| {name} | {' | '.join(_shown(row, key, 'dream') for key in FIGURES)} |" for name, row in rows.items()]
    return "\n".join(lines) + "\n"


def _shown(figures: dict[str, dict[str, float]], key: str, which: str) -> str:
    value = figures.get(key, {}).get(which)
    return "" if value is None or value != value else f"{value:.3f}"


def _run(cfg: RemediesConfig, name: str) -> Path:
    return cfg.out / "".join(c if c.isalnum() else "-" for c in name)


def _path(cfg: RemediesConfig, name: str) -> Path:
    return cfg.out / "figures" / f"{_run(cfg, name).name}.json"


if __name__ == "__main__":
    entry(lambda: main(tyro.cli(RemediesConfig, prog="remedies")))
