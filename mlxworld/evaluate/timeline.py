"""What latents of clips say of time: order, distance, the next clip, scene boundaries, each beside the usual answer.

Told by a model, as `Translator.tell_time` gives it. B films, N clips of each, P pairs of clips, C width.
"""

from collections.abc import Callable

import numpy as np

DISTANCES = ("below 10 s", "10 to 60 s", "60 to 300 s", "above 300 s")
Told = dict[str, np.ndarray]


def distance_class(seconds: np.ndarray) -> np.ndarray:
    """The numbers of DISTANCES."""
    d = np.abs(seconds)
    return (d >= 10).astype(int) + (d >= 60) + (d > 300)


def report(tell: Callable[[np.ndarray], Told], z: np.ndarray, time: np.ndarray, scene: np.ndarray) -> dict[str, dict]:
    """{task: {"right", "shuffled", "usual"}}: the share of answers that are right; the same where clips are exchanged
    among all films; and that of the commonest answer, or by chance. z (B, N, C), time (B, N) seconds, scene (B, N)."""
    rng = np.random.default_rng(0)
    mixed = z.reshape(-1, z.shape[-1])[rng.permutation(z.shape[0] * z.shape[1])].reshape(z.shape)
    whole, other = (_right(tell(x), x, time, scene) for x in (z, mixed))
    a, b = np.triu_indices(z.shape[1], 1)
    classes, new = distance_class(time[:, b] - time[:, a]), np.diff(scene, axis=1) != 0
    usual = {
        "order of two clips": 0.5,
        "distance of two clips": float(np.bincount(classes.ravel()).max() / classes.size),
    }
    usual |= {"next clip, nearest": float(1 / new.size), "scene boundary": float(max(new.mean(), 1 - new.mean()))}
    return {name: {"right": whole[name], "shuffled": other[name], "usual": usual[name]} for name in usual}


def _right(told: Told, z: np.ndarray, time: np.ndarray, scene: np.ndarray) -> dict[str, float]:
    a, b = np.triu_indices(z.shape[1], 1)
    classes, new = distance_class(time[:, b] - time[:, a]), np.diff(scene, axis=1) != 0
    return {
        "order of two clips": float((told["order"] > 0).mean()),
        "distance of two clips": float((told["distance"].argmax(-1) == classes).mean()),
        "next clip, nearest": _nearest(told["next"][:, :-1], z[:, 1:], ~new),
        "scene boundary": float(((told["boundary"] > 0) == new).mean()),
    }


def _nearest(guess: np.ndarray, target: np.ndarray, counted: np.ndarray) -> float:
    """Of those that are counted (B, N - 1), how many predictions (B, N - 1, C) are nearer to their own target than to
    all others'. Where all are alike, none is."""
    x, y = (v.reshape(-1, v.shape[-1]) for v in (guess, target))
    x, y = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-9) for v in (x, y))
    near = x @ y.T
    alone = (near > np.diag(near)[:, None] - 1e-5).sum(axis=1) == 1
    return float(alone[counted.ravel()].mean()) if counted.any() else float("nan")
