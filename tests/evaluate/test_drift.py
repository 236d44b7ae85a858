"""A dream that stays, one that fades and one that freezes, told apart by their segments."""

import numpy as np
import pytest

from mlxworld.evaluate.drift import PLAIN, Segments, cut, distances, drift_report, measure

LENGTH, SIZE, S, RATE = 20, 32, 256, 7680


def frames(count: int, seed: int, fade: float = 0.0):
    """A ball that bounces over stripes and beeps at the walls; `fade` is how much of it is gone at the end."""
    rng = np.random.default_rng(seed)
    x, v = rng.integers(4, 24), int(rng.choice([-2, -1, 1, 2]))
    tone = 0.3 * np.sin(np.arange(S) / 4).astype(np.float32)
    for t in range(count):
        left = 1 - fade * t / count
        picture = np.full((SIZE, SIZE, 3), 40, np.float32)
        picture[::4] += 60 * left
        x += v
        hit = x <= 1 or x >= SIZE - 6
        v = -v if hit else v
        picture[10:15, x : x + 5] = 40 + 200 * left
        yield picture.astype(np.uint8), tone * hit * left, int(v > 0)


def segments(*args, **kwargs) -> Segments:
    return measure(cut(frames(*args, **kwargs), LENGTH), RATE)


@pytest.fixture(scope="module")
def real() -> Segments:
    found = Segments()
    for seed in range(8):
        part = segments(4 * LENGTH, seed)
        found.vectors += part.vectors
        found.plain += part.plain
    return found


@pytest.fixture(scope="module")
def frozen() -> Segments:
    found = Segments()
    picture, sound, _ = next(frames(1, 0))
    found.add(np.repeat(picture[None], LENGTH, 0), np.repeat(sound[None], LENGTH, 0), RATE)
    return found


def test_segments_have_the_frames_in_order():
    parts = list(cut(frames(3 * LENGTH + 7, 0), LENGTH))
    assert len(parts) == 3 and parts[0][0].shape == (LENGTH, SIZE, SIZE, 3) and parts[0][2].shape == (LENGTH,)
    pictures = [p for p, _, _ in frames(3 * LENGTH, 0)]
    np.testing.assert_array_equal(np.concatenate([p[0] for p in parts]), np.stack(pictures))


def test_a_faithful_dream_is_as_near_as_real_segments(real, frozen):
    table = drift_report(segments(30 * LENGTH, 50), real, frozen, 20, LENGTH)
    for key in ("drift_first", "drift_last"):
        assert table.value(key) < 1.6 * table.value(key, "real frames")
    assert table.value("drift_last", "repeat last") > 3 * table.value("drift_last", "real frames")
    assert all(table.value(f"drift_{name}") < 60 for name in PLAIN)
    assert table.facts["segments"] == 30 and len(table.plots[0].x) == 30


def test_a_dream_that_fades_drifts(real, frozen):
    table = drift_report(segments(30 * LENGTH, 50, fade=0.9), real, frozen, 20, LENGTH)
    assert table.value("drift_last") > 3 * table.value("drift_first")
    assert table.value("drift_worst") >= table.value("drift_last")
    assert table.value("drift_contrast") > 50 and table.value("drift_loudness") > 30


def test_real_segments_are_held_against_the_others_not_themselves(real):
    alone, with_itself = distances(real, real, itself=True), distances(real, real)
    assert (alone > with_itself).mean() > 0.9 and 0.5 < np.median(alone) < 1.2


def test_keys_are_read_by_segment(real, frozen):
    class Eye:
        def __call__(self, video):
            return video[..., 0].mean((2, 3))

    class Reader:
        def read(self, features):
            return np.zeros(features.shape, int)

    found = measure(cut(frames(4 * LENGTH, 0), LENGTH), RATE, (Eye(), Reader()))  # type: ignore[arg-type]
    assert len(found.keys) == 4 and all(0 <= x < 1 for x in found.keys)
    found.thumbnails = found.thumbnails[:4]
    truth = Segments(real.vectors, real.plain, [0.9] * len(real.vectors))
    table = drift_report(found, truth, frozen, 20, LENGTH)
    assert table.value("drift_keys_first", "real frames") == pytest.approx(0.9) and len(table.plots) == 2
