"""What a report leaves behind: report.html for people, report.json for programs, report.md for a README, and strips."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mlxworld import __version__
from mlxworld.files import atomic

from .evaluation import Evaluation
from .figures import Report
from .page.build import page
from .strip import save_png, strip

STRIPS = 4


def write_report(folder: Path, evaluation: Evaluation, parts: Sequence[Report]) -> Path:
    """Writes the files into `folder`, each whole or not at all; returns the page's path. Raises MlxworldError."""
    world, cfg, clips = evaluation.world, evaluation.cfg, evaluation.clips
    figures: dict = {}
    for part in parts:
        figures |= part.as_dict()["figures"]
    settings = {name: str(x) if isinstance(x, Path) else x for name, x in vars(cfg).items()}
    about = {"world": world.name, "data": evaluation.cache.info.source, "backend": world.backend}
    about |= {"device": world.device, "precision": world.precision, "mlxworld": __version__}
    sections = [{"title": part.title, **part.as_dict()} for part in parts]
    whole = {**about, "settings": settings, "figures": figures, "sections": sections}
    atomic.write_text(folder / "report.json", json.dumps(whole, indent=1, allow_nan=False) + "\n")
    atomic.write_text(folder / "report.md", "\n".join(f"## {p.title}\n\n{p.note}\n\n{p.markdown()}" for p in parts))
    about["command"] = "mlxworld evaluate " + " ".join(sys.argv[1:])
    title = f"{world.name}, dreamt"
    path = folder / "report.html"
    atomic.write_text(path, page(title, {k: str(v) for k, v in about.items()}, parts, clips, world.fps))
    video, audio = clips.dreams["model"]
    for i in range(min(STRIPS, len(video))):
        sound = {"real_audio": clips.audio[i], "dream_audio": audio[i], "sample_rate": clips.sample_rate}
        save_png(folder / f"clip-{i}.png", strip(clips.video[i], video[i], context=clips.context, **sound))
    return path
