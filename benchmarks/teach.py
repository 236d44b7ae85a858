"""What beginning from a shipped world gives: a new environment, the same minutes, from its weights and from none.

    python -m benchmarks.teach --env bounce --minutes 10 --folder out

Records a training set and held-out games, trains twice with `mlxworld new`, and prints PSNR on the held-out games: 16
frames are seen, then dreamt with the true actions; beside them with other clips' actions, and the last frame repeated.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from mlxworld import Clip, World
from mlxworld import new as command
from mlxworld import record as recorder
from mlxworld.cli import entry
from mlxworld.evaluate.held_out import clips_for

SEEN, FRAMES = 16, 32  # of a clip: shown, in all
AT = 1, 4, 16  # dreamt frames that are measured
HELD_OUT = 9000  # seed


@dataclass(frozen=True)
class TeachConfig:
    folder: Path  # for data/ and runs/
    env: str = "bounce"
    preset: str = "nano-64"
    minutes: float = 10.0
    steps: int = 20_000
    held: int = 4000  # steps of games that training never sees
    clips: int = 32
    backend: str | None = None


def main() -> None:
    """Records, trains twice, prints the table."""
    cfg = tyro.cli(TeachConfig, description=__doc__)
    rows = {}
    for name, parent in (("pong", "pong"), ("none", "none")):
        new = command.NewConfig(f"from-{name}", cfg.env, from_=parent, preset=cfg.preset, minutes=cfg.minutes)
        new = replace(new, steps=cfg.steps, folder=cfg.folder, backend=cfg.backend, play=False)
        command.new(new)
        world = World.load(new.run, cfg.backend)
        held = cfg.folder / "data" / "held"
        if not held.is_dir():
            plan = recorder.RecordConfig(command.environment(cfg.env), held, steps=cfg.held, seed=HELD_OUT)
            recorder.record(replace(plan, size=world.size[0]))
        rows[name] = psnr(world, clips_for(world, held, cfg.clips, FRAMES))
    (cfg.folder / "teach.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))


def psnr(world: World, clips: list[Clip]) -> dict[str, list[float]]:
    """PSNR (dB) of the dreamt frames AT, mean over the clips: of the dream, with other actions, of the last frame."""
    seen = [Clip(c.video[:SEEN], c.audio[:SEEN], c.actions[:SEEN]) for c in clips]
    true = [c.video[SEEN:] for c in clips]
    taken = [c.actions[SEEN:].tolist() for c in clips]
    dreams = [c.video for c in world.rollouts(taken, seen)]
    shuffled = [c.video for c in world.rollouts(taken[1:] + taken[:1], seen)]
    still = [np.repeat(c.video[SEEN - 1 : SEEN], FRAMES - SEEN, axis=0) for c in clips]
    return {
        name: [float(np.mean([_psnr(a[t - 1], b[t - 1]) for a, b in zip(frames, true, strict=True)])) for t in AT]
        for name, frames in (("dream", dreams), ("shuffled actions", shuffled), ("last frame", still))
    }


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-3))


def table(rows: dict[str, dict[str, list[float]]]) -> str:
    """The figures in Markdown."""
    lines = [f"| begun from | what | {' | '.join(f'frame {t}, dB' for t in AT)} |", f"|---|---|{'---:|' * len(AT)}"]
    for name, psnrs in rows.items():
        lines += [f"| {name} | {what} | {' | '.join(f'{x:.2f}' for x in values)} |" for what, values in psnrs.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    entry(main)
