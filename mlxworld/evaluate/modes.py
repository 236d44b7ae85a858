"""`mlxworld evaluate --model-mode`: a model that reads and writes any modality.

reconstruct   each modality again
translate     each out of each other one; of told scenes also what readers find in what is made
latent        whether latents of one thing lie together, and how many directions they use
temporal      what a model that was taught of time says of clips of a film: order, distance, what comes next, scenes
file          --input: pictures, sounds, films, .txt files or words; what the model makes of each goes to --out
all           the first three, temporal where it was taught, and file where there is an --input

Each figure stands beside what the same outputs score against another thing (shuffled), and what the mean of all things
scores. Told scenes are held-out ones; of other data give some that training never saw.
"""

import itertools
import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track

from ..configs.translator import MODALITIES
from ..data.pairs import media
from ..data.pairs.noise import Noise
from ..data.pairs.opening import open_pairs
from ..data.pairs.scenes import HELD_OUT, ToldScenes, batch_of, days, held_out
from ..data.pairs.spectrogram import SCALE
from ..errors import MlxworldError
from ..files import atomic
from ..play.translator import Translator
from ..text.rows import printable
from . import timeline
from .latents import alignment, effective_rank
from .told import report

MODES = ("reconstruct", "translate", "latent", "temporal", "file", "all")
Modality = Literal["text", "audio", "image", "video"]
UNITS = {"text": "words right", "audio": "error, dB", "image": "PSNR, dB", "video": "PSNR, dB"}


@dataclass(frozen=True)
class ModesConfig:
    world: str  # a run's folder
    model_mode: Literal["reconstruct", "translate", "latent", "temporal", "file", "all"]  # see above
    data: str | None = None  # scenes, coco or a folder of films; scenes, of a model of their sizes
    image_dir: Path | None = None  # of --data coco
    annotation_file: Path | None = None  # of --data coco
    input: tuple[str, ...] = ()  # of file: pictures, sounds, films, .txt files, or words
    to: tuple[Modality, ...] = ()  # of file: what is made of them; all
    out: Path | None = None  # of file: the folder for what is made; of the others: figures.json is written there
    items: int = 100  # things that figures are of; of temporal: films
    clips: int = 8  # of each film, of temporal
    backend: str | None = None  # mlx or torch; the best one installed
    precision: str | None = None  # float32, float16 or bfloat16
    hook: tuple[Path, ...] = ()  # latent hooks that join it, files
    seed: int = 0  # of what is drawn from the data


def main(argv: list[str]) -> None:
    """`mlxworld evaluate --model-mode`."""
    cfg = tyro.cli(ModesConfig, args=argv, description=__doc__, prog="mlxworld evaluate")
    check(cfg)
    if cfg.out is not None:
        atomic.require_writable(cfg.out / "figures.json")
    translator = Translator.load(cfg.world, cfg.backend, cfg.precision, cfg.hook)
    if not translator.steps:
        print(f"{cfg.world} is untrained: what it makes is noise", file=sys.stderr)
    if cfg.input:
        for line in files(translator, cfg):
            print(printable(line), flush=True)
    if cfg.model_mode != "file":
        metrics = figures(translator, cfg)
        print(shown(metrics))
        if cfg.out is not None:
            atomic.write_text(cfg.out / "figures.json", json.dumps(metrics, indent=1) + "\n")


def check(cfg: ModesConfig) -> None:
    """Raises MlxworldError for flags that do not go together."""
    if cfg.model_mode == "file" and not cfg.input:
        raise MlxworldError("--model-mode file needs --input: files, or words")
    if cfg.input and cfg.model_mode not in ("file", "all"):
        raise MlxworldError("--input is of --model-mode file or all")
    if cfg.to and not cfg.input:
        raise MlxworldError("--to says what is made of an --input")
    if cfg.model_mode == "file" and (cfg.data or cfg.image_dir or cfg.annotation_file):
        raise MlxworldError("--model-mode file takes --input, not --data")
    if cfg.input and cfg.out is None and set(cfg.to or MODALITIES) != {"text"}:
        raise MlxworldError("give --out, a folder for what is made, or --to text")
    if not 2 <= cfg.items <= 10000:
        raise MlxworldError("--items lies between 2 and 10000")
    if not 2 <= cfg.clips <= 256:
        raise MlxworldError("--clips lies between 2 and 256")
    for given in cfg.input:
        media.kind(given)


def files(translator: Translator, cfg: ModesConfig) -> list[str]:
    """What is made of each input: texts as lines, the rest written to --out, as lines that name it."""
    lines = []
    for i, given in enumerate(cfg.input):
        source, data = translator.read(given)
        name = Path(given).stem if source != "text" or given.endswith(".txt") else f"text{i + 1}"
        for target in cfg.to or MODALITIES:
            made = translator.translate(source, data, target)
            result = translator.texts(made)[0] if target == "text" else made[0]
            if target == "text":
                lines.append(f"{given}: {result}" if len(cfg.input) > 1 else str(result))
            if cfg.out is not None:
                path = cfg.out / f"{i + 1}-{name}{media.ENDINGS[target]}"
                media.write(path, target, result, translator.config)
                lines += [f"{given} -> {path}"] if target != "text" else []
    return lines


def figures(translator: Translator, cfg: ModesConfig) -> dict[str, Any]:
    """The figures of a mode, as plain values."""
    source = {"world": cfg.world, "steps": translator.steps, "data": cfg.data or "held-out scenes"}
    if cfg.model_mode == "temporal":
        return source | {"items": cfg.items, "temporal": of_time(translator, cfg)}
    batch, scenes = drawn(translator, cfg)
    source["data"] = "held-out scenes" if scenes else cfg.data
    metrics: dict[str, Any] = source | {"items": len(next(iter(batch.values())))}
    modes = ("reconstruct", "translate", "latent") if cfg.model_mode == "all" else (cfg.model_mode,)
    same, cross = [(m, m) for m in batch], list(itertools.permutations(batch, 2))
    for mode, pairs in (("reconstruct", same), ("translate", cross)):
        if mode in modes:
            shown_pairs = track(pairs, mode, console=Console(stderr=True), transient=True)
            metrics[mode] = {f"{a} -> {b}": scored(translator, batch, a, b) for a, b in shown_pairs}
    if "translate" in modes and scenes:
        c = translator.config
        metrics["told"] = report(translator.translate, c.bands, c.max_text, cfg.items, translator.tokenizer)
    if "latent" in modes:
        latents = {m: translator.encode(m, x) for m, x in batch.items()}
        metrics["latent"] = alignment(latents)
        metrics["effective rank"] = {m: effective_rank(z) for m, z in latents.items()}
    if cfg.model_mode == "all" and hasattr(translator.model, "timeline"):
        metrics["temporal"] = of_time(translator, cfg)
    return metrics


def of_time(translator: Translator, cfg: ModesConfig) -> dict[str, dict[str, float]]:
    """What is right of what is told of clips of films; see `timeline.report`."""
    translator.require_timeline()
    films, _ = drawn(translator, cfg, cfg.clips)
    shape, video = (cfg.items, cfg.clips), films["video"].reshape(cfg.items, cfg.clips, *films["video"].shape[1:])
    z = np.stack([translator.encode("video", each.astype(np.float32) / 255) for each in video])
    return timeline.report(translator.tell_time, z, films["time"].reshape(shape), films["scene"].reshape(shape))


def drawn(translator: Translator, cfg: ModesConfig, clips: int = 1) -> tuple[dict[str, np.ndarray], bool]:
    """A batch of the data as the model reads it, and whether it is of told scenes. clips: of each film in turn; then
    pictures and videos are bytes."""
    c, name = translator.config, cfg.data or "scenes"
    with tempfile.TemporaryDirectory() as folder:
        data, rates = open_pairs(c, name, cfg.image_dir, cfg.annotation_file, c.fps, pictures=Path(folder))
        if isinstance(data, Noise):
            raise MlxworldError("--data synthetic says nothing of a model: give scenes, coco or a folder of films")
        if any(getattr(c, key) != value for key, value in rates.items()):
            raise MlxworldError(
                f"--data {name} sounds at {rates['sample_rate']} samples a second, but the model hears {c.sample_rate}"
            )
        for note in data.notes:
            print(f"{name}: {note}", file=sys.stderr)
        if data.clips < clips:
            raise MlxworldError(f"--data {name} has no film of {clips} clips: give fewer --clips")
        rng, size = np.random.default_rng(cfg.seed), cfg.items * clips
        if isinstance(data, ToldScenes) and clips > 1:
            batch = days(rng, size, clips, c.bands, HELD_OUT)
        elif isinstance(data, ToldScenes):
            batch = batch_of(held_out(cfg.items, False), c.bands, c.max_text, translator.tokenizer)
        else:
            data.tokenizer = translator.tokenizer
            batch = data.batch(rng, size, clips)
    if clips == 1:
        batch |= {m: batch[m].astype(np.float32) / 255 for m in ("image", "video") if m in batch}
    return batch, isinstance(data, ToldScenes)


def scored(translator: Translator, batch: dict[str, np.ndarray], source: str, target: str) -> dict[str, Any]:
    """A translation's figure, beside that against another thing, and the mean's."""
    made, truth = translator.translate(source, batch[source], target), batch[target]
    other = np.roll(truth, 1, axis=0)
    if target == "text":
        said, true = translator.texts(made), translator.texts(truth)
        usual = Counter(true).most_common(1)[0][0]
        values = [words_right(said, true), words_right(said, np.roll(true, 1).tolist())]
        values.append(words_right([usual] * len(true), true))
    else:
        score = _decibels if target == "audio" else _psnr
        mean = np.broadcast_to(truth.mean(0), truth.shape)
        values = [score(made, truth), score(made, other), score(mean, truth)]
    return {"figure": UNITS[target], **dict(zip(("model", "shuffled", "mean"), values, strict=True))}


def words_right(said: list[str], true: list[str]) -> float:
    """F1 of the words of each text, as often as they stand there, their order left aside; the mean over texts."""
    values = []
    for a, b in zip(said, true, strict=True):
        x, y = Counter(a.split()), Counter(b.split())
        total = x.total() + y.total()
        values.append(2 * (x & y).total() / total if total else 1.0)
    return float(np.mean(values))


def _decibels(made: np.ndarray, truth: np.ndarray) -> float:
    return float(SCALE * np.abs(made - truth).mean())


def _psnr(made: np.ndarray, truth: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(made - truth).mean() + 1e-10))


def shown(metrics: dict[str, Any]) -> str:
    """Figures as tables in markdown."""
    lines = [f"{metrics['world']}, trained for {metrics['steps']:,} steps, on {metrics['items']} of {metrics['data']}"]
    told = metrics.get("told", {})
    tables = [(name, metrics.get(name)) for name in ("reconstruct", "translate", "latent", "temporal")]
    tables += [(f"told scenes, combinations {name}", rows) for name, rows in told.items()]
    for name, rows in tables:
        if rows:
            columns = list(next(iter(rows.values())))
            lines += ["", f"| {name} | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
            lines += [f"| {row} | {' | '.join(_short(v) for v in values.values())} |" for row, values in rows.items()]
    if ranks := metrics.get("effective rank"):
        lines += ["", "effective rank of latents: " + ", ".join(f"{m} {_short(x)}" for m, x in ranks.items())]
    return "\n".join(lines)


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
