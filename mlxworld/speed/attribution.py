"""What a model that reads and writes any modality owes to its parts: what each pair adds to its loss, and what a layer
and a latent hook change of what it writes. L layers."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..configs.translator import MODALITIES
from ..play.masses import masses
from ..play.translator import Translator
from ..training import hooks
from .measure import Show, silent
from .timed import median

Batch = dict[str, np.ndarray]
GATES = (-8.0, -4.0, 0.0)  # b of fresh hooks, where none is given
TOKENS = 16  # of a fresh hook


def outputs(t: Translator, batch: Batch) -> Batch:
    """What is made of a picture in each modality (of a picture itself: of its text); of text its logits."""
    engine, made = t.package.engine, {}
    with engine.inference():
        for m in MODALITIES:
            source = "text" if m == "image" else "image"
            text = engine.array(batch["text"]) if m == "text" else None
            made[m] = engine.numpy(t.model(source, engine.array(batch[source]), m, text=text)["output"])
    return made


def changes(made: Batch, whole: Batch) -> dict[str, float]:
    """By how much each modality changed: the mean absolute difference over the standard deviation of `whole`."""
    return {m: float(np.abs(x - whole[m]).mean() / max(1e-9, whole[m].std())) for m, x in made.items()}


def contributions(t: Translator, batch: Batch, show: Show = silent) -> dict[str, list[float]]:
    """For each target, by how much `outputs` change without each layer."""
    blocks, whole = list(t.model.blocks), outputs(t, batch)
    rows: dict[str, list[float]] = {m: [] for m in MODALITIES}
    try:
        for left in show("layers", range(len(blocks))):
            set_blocks(t, [block for i, block in enumerate(blocks) if i != left])
            for m, x in changes(outputs(t, batch), whole).items():
                rows[m].append(x)
    finally:
        set_blocks(t, blocks)
    return rows


def losses(t: Translator, batch: Batch) -> dict[str, dict[str, float]]:
    """Of each pair "a to b": its loss; what it would be of another thing's a, which says what is owed to the source and
    not to what all things have in common; and its share of the loss that training minimises: the mean over a target's
    sources, times the weight exp(-s) that the target's uncertainty has by now."""
    engine, weights = t.package.engine, _weights(t)
    rows: dict[str, dict[str, float]] = {}
    with engine.inference():
        data = engine.array(batch)
        for source in MODALITIES:
            other = engine.array(np.roll(batch[source], 1, axis=0))
            for target in MODALITIES:
                text = data["text"] if target == "text" else None
                made = [t.model(source, x, target, text=text)["output"] for x in (data[source], other)]
                own, swapped = (_loss(t, target, x, data[target]) for x in made)
                rows[f"{source} to {target}"] = {"loss": own, "of another": swapped, "share": weights[target] * own}
    whole = sum(row["share"] for row in rows.values())
    return {pair: row | {"share": row["share"] / max(1e-12, whole)} for pair, row in rows.items()}


def impact(t: Translator, batch: Batch, show: Show = silent) -> dict[str, dict[str, Any]]:
    """Of each hook, beside the model without it: "change" of `outputs`, by how much their "loss" falls or rises, the
    "mass" of attention that it gets in each layer (L,), and the "ms" that it adds to a video of a picture. A model
    without hooks is given fresh ones, one after another, whose gates are b = -8, -4 and 0."""
    hooked, rows = t.model.hooked(), {}
    given = list(getattr(hooked, "hooks", []))
    for i in show("hooks", range(len(given) or len(GATES))):
        if given:
            name = given[i].cfg.name
        else:
            name = f"fresh, b = {GATES[i]:g}"
            hooks.add(t.package, hooked, name, TOKENS, t.config.family, seed=0, gate=GATES[i])
            t.package.engine.place(t.model)
        try:
            rows[name] = _impact(t, batch, hooked, name)
        finally:
            _put_back(hooked, given)
    return rows


def _impact(t: Translator, batch: Batch, hooked: Any, name: str) -> dict[str, Any]:
    """As `impact`, of one hook, which leaves."""

    def measured():
        made = outputs(t, batch)
        return made, median(lambda: t.translate("image", batch["image"][:1], "video"), calls=5)

    made, ms = measured()
    mass = masses(t.package, hooked, lambda: outputs(t, batch))[name].mean(axis=1)
    hooked.remove_hook(name)
    without, plain_ms = measured()
    fell = {m: _loss_of(t, m, made[m], batch[m]) - _loss_of(t, m, without[m], batch[m]) for m in MODALITIES}
    return {"change": changes(made, without), "loss": fell, "mass": mass.tolist(), "ms": ms - plain_ms}


def _put_back(hooked: Any, given: Sequence[Any]) -> None:
    """These hooks and no other, in their order."""
    for name in list(hooked.opened):
        hooked.remove_hook(name)
    for hook in given:
        hooked.register_hook(hook)


def _loss(t: Translator, target: str, made: Any, truth: Any) -> float:
    rooms = importlib.import_module(f"{t.package.__name__}.models.{t.config.family}.losses")
    return float(rooms.LOSSES[target](made, truth))


def _loss_of(t: Translator, target: str, made: np.ndarray, truth: np.ndarray) -> float:
    """`_loss` of arrays on the host."""
    return _loss(t, target, *t.package.engine.array((made, truth)))


def _weights(t: Translator) -> dict[str, float]:
    """What each target's loss is multiplied by."""
    s = t.package.engine.numpy(t.model.objective.log_variance)
    return dict(zip(t.model.objective.tasks, np.exp(-s).tolist(), strict=True))


def set_blocks(t: Translator, blocks: Sequence[Any]) -> None:
    """The model with other layers."""
    del t.model.blocks
    t.model.blocks = list(blocks)
