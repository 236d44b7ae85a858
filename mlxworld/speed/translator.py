"""What `mlxworld bench` says of a model that reads and writes any modality: parameters and time of its parts, what its
latents are worth, and what each layer adds to what it writes. As plain values, as lines, and as one picture."""

import time
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
from ..play.translator import Translator
from .bars import bars
from .measure import Show, silent

Batch = dict[str, np.ndarray]


def bench(translator: Translator, items: int, show: Show = silent) -> dict[str, Any]:
    """All figures, of `items` held-out scenes where the model is of their sizes, else of noise."""
    t, engine = translator, translator.package.engine
    batch, data = things(t, items)
    figures: dict[str, Any] = {"world": t.name, "steps": t.steps, "data": data, "items": items}
    figures |= {"device": engine.device(), "parameters": parameters(t), "ms": times(t, batch, show)}
    latents = {m: t.encode(m, x) for m, x in batch.items()}
    figures["effective_rank"] = {m: effective_rank(z) for m, z in latents.items()}
    figures["alignment"] = alignment(latents)
    figures["layers"] = contributions(t, {m: x[:8] for m, x in batch.items()}, show)
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
    ms = {name: _median(call, show, name) for name, call in calls.items()}
    ms["image to text"] = _median(lambda: t.translate("image", one["image"], "text"), show, "image to text", 3)
    return ms | {"a token of it": ms["image to text"] / t.config.max_text}


def contributions(t: Translator, batch: Batch, show: Show = silent) -> dict[str, list[float]]:
    """For each target, by how much what is made of a picture (of a picture itself: of its text) changes without each
    layer: the mean absolute difference over the output's standard deviation. Text: of its logits."""
    engine, model, blocks = t.package.engine, t.model, list(t.model.blocks)
    rows: dict[str, list[float]] = {m: [] for m in MODALITIES}

    def outputs() -> dict[str, np.ndarray]:
        made = {}
        with engine.inference():
            for m in MODALITIES:
                source = "text" if m == "image" else "image"
                text = engine.array(batch["text"]) if m == "text" else None
                made[m] = engine.numpy(model(source, engine.array(batch[source]), m, text=text)["output"])
        return made

    whole = outputs()
    try:
        for left in show("layers", range(len(blocks))):
            _set_blocks(t, [block for i, block in enumerate(blocks) if i != left])
            for m, x in outputs().items():
                rows[m].append(float(np.abs(x - whole[m]).mean() / max(1e-9, whole[m].std())))
    finally:
        _set_blocks(t, blocks)
    return rows


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
    title = f"{figures['world']}, {figures['steps']:,} steps, {figures['items']} {figures['data']}"
    atomic.write_text(path, bars(title, groups))


def _set_blocks(t: Translator, blocks: list[Any]) -> None:
    del t.model.blocks
    t.model.blocks = blocks


def _median(call: Callable[[], Any], show: Show, name: str, calls: int = 10) -> float:
    """Milliseconds of a call whose result is on the host, after a first one."""
    call()
    ms = []
    for _ in show(name, range(calls)):
        start = time.perf_counter()
        call()
        ms.append(1e3 * (time.perf_counter() - start))
    return float(np.median(ms))
