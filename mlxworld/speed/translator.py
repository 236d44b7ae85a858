"""What `mlxworld bench` says of a model that reads and writes any modality: parameters and time of its parts, how time
grows, what its latents are worth, where its loss comes from, and what each layer and each latent hook adds to what it
writes. As plain values, as lines, and as one picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..configs.translator import MODALITIES
from ..data.pairs.noise import Noise
from ..data.pairs.scenes import ToldScenes, batch_of, held_out
from ..errors import MlxworldError
from ..evaluate.latents import alignment, effective_rank
from ..files import atomic
from ..play.translator import ROWS, Translator
from .attribution import Batch, contributions, impact, losses
from .bars import bars
from .measure import Show, silent
from .scaling import scaling
from .timed import median

FEW = 8  # things that what costs many passes is measured on


def bench(translator: Translator, items: int, show: Show = silent) -> dict[str, Any]:
    """All figures, of `items` held-out scenes where the model is of their sizes, else of noise."""
    t, engine = translator, translator.package.engine
    batch, data = things(t, items)
    figures: dict[str, Any] = {"world": t.name, "steps": t.steps, "data": data, "items": items}
    figures |= {"device": engine.device(), "parameters": parameters(t), "ms": times(t, batch, show)}
    latents = {m: t.encode(m, x) for m, x in batch.items()}
    figures["effective_rank"] = {m: effective_rank(z) for m, z in latents.items()}
    figures["alignment"] = alignment(latents)
    few = {m: x[:FEW] for m, x in batch.items()}
    figures["losses"] = losses(t, {m: x[:ROWS] for m, x in batch.items()})
    figures["layers"] = contributions(t, few, show)
    figures["hooks"] = impact(t, few, show)
    figures["scaling"] = scaling(t, batch, show)
    return figures | {"memory": engine.memory()}


def things(t: Translator, items: int) -> tuple[Batch, str]:
    """A batch as the model reads it, and what it is of."""
    try:
        ToldScenes(t.config)
        batch = batch_of(held_out(items, False), t.config.bands, t.config.max_text, t.tokenizer)
        data = "held-out scenes"
    except MlxworldError:
        batch, data = Noise(t.config).batch(np.random.default_rng(0), items), "noise"
    return batch | {m: batch[m].astype(np.float32) / 255 for m in ("image", "video")}, data


def parameters(t: Translator) -> dict[str, int]:
    """Numbers of each part of the model, and in all."""
    counts: dict[str, int] = {}
    for name, x in t.package.nn.parameters(t.model).items():
        part = name.split(".")[0]
        counts[part] = counts.get(part, 0) + int(np.prod(tuple(x.shape)))
    return {**counts, "all": sum(counts.values())}


def times(t: Translator, batch: Batch, show: Show = silent) -> dict[str, float]:
    """Milliseconds for one thing, the median of calls: latents and each target out of a picture; a written token."""
    one = {m: x[:1] for m, x in batch.items()}
    calls: dict[str, Callable[[], Any]] = {f"{m} to its latent": lambda m=m: t.encode(m, one[m]) for m in MODALITIES}
    calls |= {f"image to {m}": lambda m=m: t.translate("image", one["image"], m) for m in MODALITIES if m != "text"}
    ms = {name: median(call, show, name) for name, call in calls.items()}
    ms["image to text"] = median(lambda: t.translate("image", one["image"], "text"), show, "image to text", 3)
    return ms | {"a token of it": ms["image to text"] / t.config.max_text}


def report(figures: dict[str, Any]) -> str:
    """The figures as lines."""
    f = figures
    lines = [f"{f['world']} on {f['device']}, trained for {f['steps']:,} steps; figures of {f['items']} {f['data']}"]
    lines.append("parameters  " + ", ".join(f"{name} {n / 1e6:.2f} M" for name, n in f["parameters"].items()))
    lines += [f"{name:<22} {ms:9.2f} ms" for name, ms in f["ms"].items()]
    lines.append("rank        " + ", ".join(f"{m} {x:.1f}" for m, x in f["effective_rank"].items()))
    for pair, row in f["alignment"].items():
        recall = f"recall at 1 {row['recall at 1']:.2f} (chance {row['chance']:.2f})"
        lines.append(f"{pair:<22} {recall}, {row['nearer than others']:+.3f} nearer than others")
    lines += [f"without a layer, {m:<5} " + " ".join(f"{x:.2f}" for x in row) for m, row in f["layers"].items()]
    for pair, row in f["losses"].items():
        owed = f"{row['loss']:.3f}, with another's source {row['of another']:.3f}"
        lines.append(f"{pair:<22} {row['share']:.1%} of the loss: {owed}")
    for name, row in f["hooks"].items():
        change = " ".join(f"{m} {x:.3f} (loss {row['loss'][m]:+.4f})" for m, x in row["change"].items())
        mass = " ".join(f"{x:.1%}" for x in row["mass"])
        lines.append(f"hook {name:<17} changes {change}; attention by layer {mass}; {row['ms']:+.2f} ms")
    for name, row in f["scaling"].items():
        lines.append(f"{name}: " + ", ".join(f"{n}: {x:.3g}" for n, x in row.items()))
    lines.append(f"memory      at most {f['memory']['peak'] / 1e6:.0f} MB")
    return "\n".join(lines)


def draw(figures: dict[str, Any], path: Path) -> None:
    """The picture, an SVG. Raises MlxworldError where it cannot be written."""
    counts = {name: n / 1e6 for name, n in figures["parameters"].items() if name != "all"}
    groups = {"parameters, M": counts, "one thing, ms": figures["ms"]}
    groups |= {"effective rank of latents": figures["effective_rank"]}
    groups["recall at 1"] = {pair: row["recall at 1"] for pair, row in figures["alignment"].items()}
    for m, row in figures["layers"].items():
        groups[f"change of {m} without layer"] = {str(i): x for i, x in enumerate(row)}
    groups["share of the loss, %"] = {pair: 100 * row["share"] for pair, row in figures["losses"].items()}
    others = {pair: row["of another"] / max(1e-12, row["loss"]) for pair, row in figures["losses"].items()}
    groups["loss of another's source, times its own"] = others
    for name, row in figures["hooks"].items():
        groups[f"change by hook {name}"] = row["change"]
        groups[f"attention on hook {name}, %, by layer"] = {str(i): 100 * x for i, x in enumerate(row["mass"])}
    groups |= figures["scaling"]
    title = f"{figures['world']}, {figures['steps']:,} steps, {figures['items']} {figures['data']}"
    atomic.write_text(path, bars(title, groups))
