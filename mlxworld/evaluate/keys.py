"""Which key was pressed, read from pictures alone: inverse dynamics, fitted on real frames and then asked of dreams.

What is seen of a frame: where each of eight colours has its centre and how much of it there is (colours of what moves
in the real frames, by k-means), how fast those move and how that changes; and in nine parts of the picture the motion
that explains the change best (least squares, Lucas & Kanade 1981) and the change of brightness. A small network reads
the key from four frames in a row. All of it is numpy and drawn from a seed: the same frames give the same reader.
"""

from dataclasses import dataclass

import numpy as np

from .features import pool

COLOURS, SOFT = 8, 25.0  # and the levels by which a pixel may differ from its colour
FINE = 2  # pixels that are one for the colours
GRID, SCALE = 3, 4  # of the motion: parts a side, pixels that are one
SLACK = 1e-4  # squared gradient in [0, 1] below which a part has nothing to move
STEPS = (-1, 0, 1, 2)  # frames around the one that the key led to: an answer may come late
HIDDEN, EPOCHS, BATCH, RATE = 64, 40, 128, 3e-3
DROPOUT, DECAY = 0.2, 0.01
MOVES = 24  # levels by which a pixel that moves has changed


@dataclass(frozen=True)
class KeyReader:
    """Fitted by `fit` on real clips; `read` gives the key of each frame of others."""

    mean: np.ndarray
    scale: np.ndarray
    layers: list[np.ndarray]

    @classmethod
    def fit(cls, features: np.ndarray, actions: np.ndarray, count: int) -> "KeyReader":
        """features (N, T, F) of real clips by `Eye`, actions (N, T) of `count` keys. Rare keys weigh more than their
        share."""
        x = _around(features).reshape(actions.size, -1)
        mean, scale = x.mean(0), x.std(0) + 1e-3
        return cls(mean, scale, _train(_squash(x, mean, scale), actions.reshape(-1), count))

    def read(self, features: np.ndarray) -> np.ndarray:
        """features (N, T, F) -> the likeliest key of each frame (N, T)."""
        return _forward(self.layers, _squash(_around(features), self.mean, self.scale))[-1].argmax(-1)


class Eye:
    """What is seen of frames, with the colours of what moves in `real` clips (N, T, H, W, 3) uint8."""

    def __init__(self, real: np.ndarray):
        self.palette = _palette(real)

    def __call__(self, video: np.ndarray) -> np.ndarray:
        """(N, T, H, W, 3) uint8 -> (N, T, F) float32; a frame without past has zeros."""
        places, luma = [], []
        for frame in video.reshape(-1, *video.shape[-3:]):
            small = _small(frame)
            places.append(_places(small, self.palette))
            luma.append(pool(small.mean(-1)[None] / 255, *(max(8, n * FINE // SCALE) for n in small.shape[:2]))[0])
        places, luma = (np.stack(x).reshape(*video.shape[:2], *x[0].shape) for x in (places, luma))
        velocity = np.diff(places, axis=1, prepend=places[:, :1])
        change = np.diff(velocity, axis=1, prepend=velocity[:, :1])
        return np.concatenate([velocity, change, np.stack([_flow(clip) for clip in luma])], -1)


def _small(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> float32, means over FINE x FINE pixels where both sides divide by it."""
    H, W, _ = frame.shape
    x = frame.astype(np.float32)
    return x if H % FINE or W % FINE else x.reshape(H // FINE, FINE, W // FINE, FINE, 3).mean((1, 3))


def _palette(video: np.ndarray) -> np.ndarray:
    """(COLOURS, 3) float32: the colours of pixels that change in a video (N, T, H, W, 3), all pixels if none does."""
    some = video[:, ::4]
    changed = np.abs(np.diff(some.astype(np.int16), axis=1)).max(-1) > MOVES
    pixels = np.concatenate([some[:, 1:][changed], some[:, :-1][changed]])
    pixels = pixels if len(pixels) else some.reshape(-1, 3)
    pixels = np.random.default_rng(0).permutation(pixels)[:4000].astype(np.float32)
    centres = pixels[:1]
    for _ in range(COLOURS - 1):  # the farthest from those that there are
        far = np.square(pixels[:, None] - centres).sum(-1).min(1).argmax()
        centres = np.concatenate([centres, pixels[far : far + 1]])
    for _ in range(20):
        nearest = np.square(pixels[:, None] - centres).sum(-1).argmin(1)
        groups = [pixels[nearest == k] for k in range(COLOURS)]
        centres = np.stack([g.mean(0) if len(g) else c for g, c in zip(groups, centres, strict=True)])
    return centres


def _places(frame: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (COLOURS * 3,): each colour's amount (in tenths of the picture) and centre (in pixels)."""
    H, W, _ = frame.shape
    far = np.square(frame).sum(-1)[..., None] - 2 * frame @ colours.T + np.square(colours).sum(-1)
    cover = np.exp(-far / (2 * SOFT**2))
    down, across = (cover.sum(axis) for axis in (1, 0))
    total = down.sum(0) + 1
    centres = [np.arange(n, dtype=np.float32) @ c / total for n, c in ((W, across), (H, down))]
    return np.concatenate([10 * total / (H * W), *centres])


def _flow(luma: np.ndarray) -> np.ndarray:
    """(T, h, w) in [0, 1] -> (T, 3 * GRID * GRID): motion in x and y and change of brightness of each part."""
    mean, change = (luma[1:] + luma[:-1]) / 2, np.diff(luma, axis=0)
    slopes = [np.gradient(mean, axis=axis) for axis in (2, 1)]
    moved = [-pool(s * change, GRID, GRID) / (pool(s * s, GRID, GRID) + SLACK) for s in slopes]
    flow = np.stack([*moved, 10 * pool(change, GRID, GRID)], -1).reshape(len(change), 3 * GRID * GRID)
    return np.concatenate([np.zeros_like(flow[:1]), flow]).astype(np.float32)


def _around(x: np.ndarray) -> np.ndarray:
    """(N, T, F) -> (N, T, len(STEPS) * F): each frame with its neighbours; beyond the ends the last one again."""
    t = np.arange(x.shape[1])
    return np.concatenate([x[:, np.clip(t + s, 0, len(t) - 1)] for s in STEPS], -1)


def _squash(x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Collisions and cuts are many deviations away: they count by their logarithm."""
    return (np.arcsinh(2 * (x - mean) / scale) / 1.5).astype(np.float32)


def _forward(layers: list[np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    """The input of each layer, and the logits."""
    values = [x]
    for i in range(0, len(layers), 2):
        y = values[-1] @ layers[i] + layers[i + 1]
        values.append(np.maximum(y, 0) if i + 2 < len(layers) else y)
    return values


def _train(x: np.ndarray, keys: np.ndarray, count: int) -> list[np.ndarray]:
    """Two hidden layers by Adam (Kingma & Ba 2015) with decoupled decay, dropout of the input, a rate that falls."""
    rng = np.random.default_rng(0)
    layers = []
    for a, b, gain in ((x.shape[1], HIDDEN, 1), (HIDDEN, HIDDEN, 1), (HIDDEN, count, 0)):
        layers += [gain * rng.standard_normal((a, b)) / np.sqrt(a), np.zeros(b)]
    layers = [p.astype(np.float32) for p in layers]
    first, second = ([np.zeros_like(p) for p in layers] for _ in range(2))
    share = np.bincount(keys, minlength=count) / len(keys)
    weight = 1 / np.sqrt(np.maximum(share[keys], 1e-3))
    weight, target = weight / weight.mean(), np.eye(count, dtype=np.float32)[keys]
    batch = min(BATCH, len(x))
    total = EPOCHS * (len(x) // batch)
    for k in range(1, total + 1):
        rows = rng.integers(0, len(x), batch)
        shown = x[rows] * (rng.random((batch, x.shape[1])) > DROPOUT) / np.float32(1 - DROPOUT)
        values = _forward(layers, shown.astype(np.float32))
        logits = np.exp(values[-1] - values[-1].max(1, keepdims=True))
        slope = (logits / logits.sum(1, keepdims=True) - target[rows]) * (weight[rows, None] / batch)
        slope, rate = slope.astype(np.float32), RATE * (1 - k / total)
        for i in range(len(layers) - 2, -1, -2):
            gradients = values[i // 2].T @ slope, slope.sum(0)
            slope = (slope @ layers[i].T) * (values[i // 2] > 0)
            for j, g in zip((i, i + 1), gradients, strict=True):
                first[j] += 0.1 * (g - first[j])
                second[j] += 0.02 * (g * g - second[j])
                step = first[j] / (1 - 0.9**k) / (np.sqrt(second[j] / (1 - 0.98**k)) + 1e-8)
                layers[j] = layers[j] - rate * (step + (DECAY * layers[j] if j == i else 0))
    return layers


def macro_f1(truth: np.ndarray, read: np.ndarray) -> float:
    """Mean over the keys that were pressed of each key's F1; chance is about one over their number."""
    scores = []
    for key in np.unique(truth):
        hits, told, given = ((truth == key) & (read == key)).sum(), (read == key).sum(), (truth == key).sum()
        scores.append(2 * hits / (told + given))
    return float(np.mean(scores))
