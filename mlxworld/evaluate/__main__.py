"""`mlxworld evaluate`: a world against held-out episodes, beside baselines and controls, as a table and as JSON."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from ..cli import entry
from ..play.dream import dream
from ..play.world import World
from . import held_out
from .figures import Clips, Report
from .report import report
from .strip import save_png, strip
from .worlds import figures_of


@dataclass(frozen=True)
class EvaluateConfig:
    world: str  # a shipped world's name, or a folder
    data: Annotated[Path, tyro.conf.arg(help="a dataset that training never saw: record one with another --seed")]
    out: Path | None = None  # folder for report.json, report.md and pictures; without it, the table is only printed
    backend: str | None = None  # mlx or torch; the best one installed
    precision: str | None = None  # float32, float16 or bfloat16; the device's best
    weights: str | None = None  # quantised: int8, int4 or (MLX) mxfp8; as the world has them
    steps: int | None = None  # denoising passes a frame; what the world was made for
    clips: int = 48
    context: int = 16  # frames seen before the dream
    frames: int = 64  # frames dreamt
    batch: int = 8  # clips dreamt at once
    seed: int = 0


def main(argv: list[str] | None = None) -> None:
    cfg = tyro.cli(EvaluateConfig, args=sys.argv[1:] if argv is None else argv, description=__doc__)
    found, clips = evaluate(cfg)
    print(found.markdown())
    if cfg.out is not None:
        cfg.out.mkdir(parents=True, exist_ok=True)
        (cfg.out / "report.json").write_text(json.dumps(found.as_dict(), indent=1) + "\n")
        (cfg.out / "report.md").write_text(found.markdown() + "\n")
        video, audio = clips.dreams["model"]
        for i in range(min(4, len(video))):
            sound = {"real_audio": clips.audio[i], "dream_audio": audio[i], "sample_rate": clips.sample_rate}
            save_png(cfg.out / f"clip-{i}.png", strip(clips.video[i], video[i], context=cfg.context, **sound))


def evaluate(cfg: EvaluateConfig) -> tuple[Report, Clips]:
    """Dreams held-out clips with their true actions, then with shuffled ones; measures both and the baselines."""
    world = World.load(cfg.world, cfg.backend, precision=cfg.precision, weights=cfg.weights, steps=cfg.steps)
    cache = held_out.cache_for(world, cfg.data)
    rows = held_out.rows(cache, cfg.clips, cfg.context + cfg.frames)
    video, audio, actions = cache.video[rows], cache.sound(rows), cache.actions[rows]
    shuffled = actions.copy()
    shuffled[:, cfg.context :] = np.roll(actions, len(actions) // 2, axis=0)[:, cfg.context :]
    dreams = {}
    for name, taken in {"model": actions, "shuffled actions": shuffled}.items():
        parts = [
            dream(
                world.package, world.model, video[i : i + cfg.batch], audio[i : i + cfg.batch], a, cfg.context, cfg.seed
            )
            for i in range(0, len(rows), cfg.batch)
            for a in [taken[i : i + cfg.batch]]
        ]
        dreams[name] = tuple(np.concatenate(x) for x in zip(*parts, strict=True))
    clips = Clips(video, audio, dreams, cfg.context, world.sample_rate)
    own = figures_of(cache.info.source)
    return (report(clips) + own(clips) if own else report(clips)), clips


if __name__ == "__main__":
    entry(main)
