"""The Frechet distance against scipy, and the fixed encoder that it is taken in."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from mlxworld.errors import MlxworldError
from mlxworld.evaluate import features
from mlxworld.evaluate.frechet import frechet

GOLDEN = [0.187952, -0.183337, 0.141464, 0.011252, -0.040605, 0.068359, -1.365672, -1.503741, -0.489629]


def drawn(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + rng.standard_normal(d)


@pytest.mark.parametrize("d", [1, 5, 40])
def test_frechet_agrees_with_scipys_sqrtm(d):
    a, b = drawn(300, d, 0), drawn(200, d, 1)
    A, B = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    root = np.trace(np.real(sqrtm(A @ B)))
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(A) + np.trace(B) - 2 * root
    assert frechet(a, b) == pytest.approx(expected, rel=1e-5)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_frechet_of_what_is_known():
    a = drawn(500, 8, 0)
    assert frechet(a, a) == pytest.approx(0, abs=1e-8)
    assert frechet(a, a + 2) == pytest.approx(8 * 4)  # a shift is its square
    assert frechet(a, 3 * (a - a.mean(0)) + a.mean(0)) == pytest.approx(4 * np.trace(np.cov(a, rowvar=False)))
    few = drawn(5, 40, 2)  # fewer rows than columns
    assert np.isfinite(frechet(few, drawn(6, 40, 3))) and frechet(few, few) == pytest.approx(0, abs=1e-6)
    for other in (a[:, :3], a[:1]):
        with pytest.raises(MlxworldError, match="Frechet distance needs"):
            frechet(a, other)


def clip(frames: int = 6, size: int = 40) -> np.ndarray:
    video = np.full((frames, size, size, 3), 60, np.uint8)
    for t in range(frames):
        video[t, 10:16, 4 + 4 * t : 10 + 4 * t] = (230, 120, 40)
    return video


def test_the_encoder_is_the_same_for_everybody():
    """Fixed numbers: a changed encoder is another encoder, and needs another name."""
    assert features.NAME == "pyramid-1"
    seen, moved = features.pictures(clip()), features.motion(clip())
    sound = features.sounds(np.sin(np.arange(512) / 3).reshape(2, 256).astype(np.float32), 8000)
    assert seen.shape == (6, 64) and moved.shape == (5, 64) and sound.shape == (2, 64)
    found = [*seen[0, :3], *moved[0, :3], *sound[0, [0, 10, 40]]]
    np.testing.assert_allclose(found, GOLDEN, atol=2e-4)


def test_features_tell_place_motion_and_pitch():
    video = clip()
    still = np.repeat(video[:1], 6, 0)
    assert np.abs(features.motion(still)).max() == 0 < np.abs(features.motion(video)).max()
    assert np.linalg.norm(features.pictures(video[0]) - features.pictures(video[5])) > 0.1
    batch = features.motion(np.stack([still, video]))
    np.testing.assert_array_equal(batch[1], features.motion(video))
    tones = np.stack([np.sin(np.arange(256) * f) for f in (0.2, 0.2, 0.9)]).astype(np.float32)
    low, same, high = features.sounds(tones, 8000)
    assert np.array_equal(low, same) and np.abs(low - high).max() > 1


def test_pool_means_over_parts_of_any_size():
    x = np.arange(35.0).reshape(1, 5, 7)
    pooled = features.pool(x, 2, 3)
    assert pooled.shape == (1, 2, 3)
    assert pooled[0, 0, 0] == x[0, :2, :2].mean() and pooled[0, 1, 2] == x[0, 2:, 4:].mean()
