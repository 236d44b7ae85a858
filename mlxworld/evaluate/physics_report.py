"""Does a dream keep the laws? Positions, velocities and energies that a model reads of frames, beside the simulator's.

A model that knows physics has `read_physics(z) -> {name: (B, T, ...)}` of latents z (B, T, K, D): position and velocity
(N, 3) and energy (N,) of N bodies, in the units of the simulator's state, and plausibility in [0, 1]. What it reads of
real frames is the ceiling of what it reads of dreamt ones. A body that never moves is taken for absent.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from mlxworld.play.encode import encode

from .figures import Clips, Plot, Report, Row

HORIZONS = (1, 4, 16, 64)
COAST = "constant velocity"
Reading = dict[str, np.ndarray]


def read_physics(package: ModuleType, model: Any, video: np.ndarray, audio: np.ndarray) -> Reading:
    """What a model reads of clips (N, T, H, W, 3) with audio (N, T, S): {name: (N, T, ...)}."""
    engine, parts = package.engine, []
    for clip in zip(video, audio, strict=True):
        z = encode(package, model, *clip)
        with engine.inference():
            parts.append(engine.numpy(model.read_physics(engine.array(z[None]))))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def physics_report(clips: Clips, read: Callable[[np.ndarray, np.ndarray], Reading], fps: float) -> Report:
    """Errors of positions (% of the span in which bodies are), velocities (% of their size) and the bodies' energy in
    all (%), at several horizons, of what `read` tells of each candidate's frames. The clips' state has position and
    velocity (N, T, bodies, 2 or 3), kinetic and potential energy (N, T, bodies). "constant velocity" is the truth at
    the end of the context, moving straight on."""
    state, c = clips.state, clips.context
    truth = {"position": state["position"], "velocity": state["velocity"]}
    truth["energy"] = state["kinetic"] + state["potential"]
    horizons = [h for h in HORIZONS if h <= clips.frames]
    kinds = (
        ("position", "position, frame {} (% of the room)", {64: 3.0}),
        ("velocity", "velocity, frame {} (% of its size)", {}),
        ("energy", "energy, frame {} (%)", {64: 5.0}),
    )
    rows = {
        (key, h): Row(f"physics_{key}_{h}", f"error of {label.format(h)}", "lower", goal=goals.get(h))
        for key, label, goals in kinds
        for h in horizons
    }
    lines: dict[str, list[float]] = {}
    for name in (*clips.candidates, COAST):
        readings = _coasting(truth, c, fps) if name == COAST else read(*clips.candidates[name])
        errors = _errors(readings, truth, c)
        lines[name] = errors["position"].tolist()
        for (key, h), row in rows.items():
            row.values[name] = float(errors[key][h - 1])
    frames = [float(t) for t in range(1, clips.frames + 1)]
    plot = Plot("Error of position", "frames after the context", "% of the room", frames, lines, log=True)
    note = (
        "Positions, velocities and energy as the model's physics reads them from each candidate's frames, against the "
        "simulator's own. 'Real frames' is the ceiling of it; 'constant velocity' moves the truth straight on."
    )
    return Report({}, list(rows.values()), "Physics", note, [plot])


def _errors(found: Reading, truth: Reading, context: int) -> dict[str, np.ndarray]:
    """In % for each frame after the context, means over clips and the bodies that are there; bodies lie in as many
    dimensions as the truth says."""
    axes = truth["position"].shape[-1]
    there = np.ptp(truth["position"], axis=1).max(-1) > 0  # (clips, bodies)
    gaps = {
        name: np.linalg.norm(found[name][:, context:, :, :axes] - truth[name][:, context:], axis=-1)
        for name in ("position", "velocity")
    }
    near, speeds = (x.swapaxes(1, 2)[there] for x in (truth["position"], truth["velocity"]))  # (bodies, T, axes)
    sizes = {"position": np.ptp(near[..., 0]), "velocity": np.linalg.norm(speeds, axis=-1).mean()}
    errors = {
        name: 100 * gap.swapaxes(1, 2)[there].mean(0) / max(float(sizes[name]), 1e-9) for name, gap in gaps.items()
    }
    energy, told = ((x["energy"] * there[:, None]).sum(-1) for x in (truth, found))
    return errors | {"energy": 100 * np.abs(told - energy)[:, context:].mean(0) / max(float(energy.mean()), 1e-9)}


def _coasting(truth: Reading, context: int, fps: float) -> Reading:
    """Every body goes on as it went in the last frame of the context."""
    last = slice(context - 1, context)
    time = (np.arange(truth["position"].shape[1]) - (context - 1))[None, :, None, None] / fps
    position = truth["position"][:, last] + time * truth["velocity"][:, last]
    same = {name: np.broadcast_to(truth[name][:, last], truth[name].shape) for name in ("velocity", "energy")}
    return {"position": position, **same}
