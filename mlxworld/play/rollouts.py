"""Dreams of several lengths, from beginnings of several lengths, in batches of one size: each as it would be alone.

Beginnings end together, after as many frames as the model looks back: a shorter one is preceded by frames that no frame
of it sees, so that what worlds share (the clock of the sound's noise bands) is the same in every batch. Dreams are
sorted by length; what is dreamt past an end is left out. A step is one frame of a batch: no length is ever a shape, and
nothing is compiled again.

T frames of a beginning, F dreamt frames, K latent tokens of width D.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .lockstep import Lockstep


@dataclass(frozen=True)
class Request:
    """A beginning z (T, K, D) of at most `context_frames` and its actions (T,), the actions (F,) after it, a seed."""

    z: np.ndarray
    before: np.ndarray
    actions: np.ndarray
    seed: int


def rollouts(worlds: Lockstep, requests: Sequence[Request]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Video (F, H, W, 3) uint8 and audio (F, S) float32 of each request, in their order."""
    dreams: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for rows in batches([len(r.actions) for r in requests], worlds.n):
        chosen = [requests[i] for i in rows]
        video, audio = _together(worlds, chosen + [chosen[-1]] * (worlds.n - len(rows)))
        for place, i in enumerate(rows):
            n = len(requests[i].actions)
            dreams[i] = video[place, :n], audio[place, :n]
    return [dreams[i] for i in range(len(requests))]


def batches(lengths: Sequence[int], n: int) -> Iterator[list[int]]:
    """Numbers of requests, at most n together, the longest first."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    for begin in range(0, len(order), n):
        yield order[begin : begin + n]


def _together(worlds: Lockstep, requests: Sequence[Request]) -> tuple[np.ndarray, np.ndarray]:
    """Video (N, F, H, W, 3) and audio (N, F, S) of N requests, F the length of the longest."""
    past, future = worlds.model.cfg.context_frames, max(len(r.actions) for r in requests)
    noises = [_aligned(_noise(worlds, r), past - len(r.z), past + future) for r in requests]
    noise = np.stack(noises, axis=1)  # (T + F, N, K, D)
    z = np.stack([_aligned(r.z, past - len(r.z), past) for r in requests], axis=1)
    taken = [_aligned(np.concatenate([r.before, r.actions]), past - len(r.z), past + future) for r in requests]
    actions, first = np.stack(taken, axis=1), np.array([past - len(r.z) for r in requests])
    worlds.begin()
    for t in range(past):
        if t and (first == t).any():
            worlds.anew(first == t)
        worlds.observe(z[t], noise[t], actions[t])
    frames = [worlds.step(actions[t], noise[t])[:2] for t in range(past, past + future)]
    video, audio = (np.stack(x, axis=1) for x in zip(*frames, strict=True))
    return video, audio


def _noise(worlds: Lockstep, request: Request) -> np.ndarray:
    """Noise (T + F, K, D) float32 of a request's frames: of its seed and nothing else."""
    package, shape = worlds.package, request.z.shape[1:]
    with package.engine.inference():
        key = package.random.key(request.seed, like=package.engine.array(np.zeros(1, np.float32)))
        drawn = package.random.normal(key, (len(request.z) + len(request.actions), *shape))
        return package.engine.numpy(drawn)


def _aligned(x: np.ndarray, before: int, length: int) -> np.ndarray:
    """x after so many zeros, and before others, up to a length."""
    return np.pad(x, [(before, length - before - len(x))] + [(0, 0)] * (x.ndim - 1))
