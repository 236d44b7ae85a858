"""Nothing has changed: encoding, decoding, dreaming and training give the numbers that were written down.

A failure says which arrays moved, and how far. If a name moved, `names.py` is what to edit; if the results were meant
to move, `write.py` writes them anew.
"""

import numpy as np
import pytest

from mlxworld import World
from tests.golden import cases, numbers

# Relative to an array's spread. In brackets how far the backends are apart today, at most: five times less and more.
TOLERANCES = {
    "audio": 1e-3,  # phases add up (1.6e-4)
    "gradient": 1e-4,  # (8e-6)
    "weight": 5e-3,  # of how far weights moved; AdamW divides small gradients by themselves (5e-4)
    "average": 5e-3,
    "metric": 1e-4,  # (2e-5)
    "video": 3e-4,  # of the rollout, in whole levels: rounding decides (2e-5)
}
EXACT = 5e-5  # latents, pictures before they are rounded, losses (4e-6)


def tolerance(what: str) -> float:
    kind = "audio" if what.endswith(" audio") else what.split()[0]
    return TOLERANCES.get(kind, EXACT)


@pytest.mark.parametrize("case", cases.CASES)
def test_nothing_has_changed(backend, case):
    arrays, expected = cases.CASES[case](backend), numbers.load()[case]
    assert set(arrays) == set(expected), f"other arrays than written down: {sorted(set(arrays) ^ set(expected))}"
    apart = {what: numbers.far(expected[what], x, tolerance(what)) for what, x in arrays.items()}
    worst = {what: f"{n:.3g} tolerances" for what, n in sorted(apart.items(), key=lambda pair: -pair[1]) if n > 1}
    assert not worst, f"{len(worst)} of {len(apart)} arrays have changed: {dict(list(worst.items())[:8])}"


def test_a_digest_sees_a_small_change():
    """One in a thousand of the spread, anywhere in an array, and one element in a short one."""
    x = np.random.default_rng(1).normal(size=(4, 50, 50))
    expected = numbers.digest(x)
    assert numbers.far(expected, x + 1e-6, 5e-5) < 1 < numbers.far(expected, 1.001 * x, 5e-5)
    shifted, swapped = x.copy(), x[:, ::-1]
    shifted[2] += 0.001
    assert all(numbers.far(expected, y, 5e-5) > 1 for y in (shifted, swapped, x[:, :49], x * np.nan))
    assert numbers.far([1.0, 2.0], np.array([1.0, 2.001]), 5e-5) > 1
    whole = (100 * x).round().astype(np.int64)
    assert numbers.far(numbers.digest(whole), whole + 1, 3e-4) > 1


def test_every_picture_of_a_rollout(backend):
    """Not only their digest: what a player sees is the recorded dream, to a level on 99.9 % of all pixels."""
    with np.load(cases.ROLLOUT) as arrays:
        dreamt = arrays["video"].astype(int)
    apart = np.abs(cases.rollout(backend)["video"] - dreamt)
    assert (apart <= 1).mean() >= 0.999 and apart.mean() < 0.01


@pytest.mark.parametrize(("name", "floor"), [("opening", 59.0), ("rally", 51.0)])
@pytest.mark.parametrize("precision", ["float32", None])
def test_the_shipped_world_reconstructs_real_pong(backend, precision, name, floor):
    """Encoded and decoded, games that training never saw: PSNR in dB (present values 59.86 and 51.75)."""
    world = World.load("pong", "mlx" if backend.__name__ == "mlxworld" else "torch", precision=precision)
    given, engine = cases.recorded(name), backend.engine
    with engine.inference():
        video = engine.numpy(world.model.decode(engine.array(world.encode(given)[None]))[0])[0]
    seen = np.round(np.clip(video, 0, 1).astype(np.float64) * 255)
    error = np.square(seen - given.video).mean(axis=(1, 2, 3))
    assert (10 * np.log10(255**2 / error)).mean() >= floor
