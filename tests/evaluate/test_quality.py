"""What a change costs: nothing for no change, the known decibels for a known one, and only dreamt frames count."""

from types import SimpleNamespace

import numpy as np
import pytest

from mlxworld import Clip, MlxworldError
from mlxworld.evaluate.quality import quality

CONTEXT, HORIZON = 3, 4


class Seer:
    """A world that dreams the clip itself, `wrong` levels too bright from the second dreamt frame on."""

    def __init__(self, clips, wrong=0):
        self.clips, self.wrong = clips, wrong

    def reset(self, seed, context):
        self.clip = next(c for c in self.clips if (c.video[:CONTEXT] == context.video).all())
        assert len(context.audio) == len(context.actions) == CONTEXT and seed >= 5
        self.t = CONTEXT

    def step(self, action):
        assert action == self.clip.actions[self.t]
        wrong = self.wrong if self.t > CONTEXT else 0
        self.t += 1
        return SimpleNamespace(video=self.clip.video[self.t - 1] + np.uint8(wrong))


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    T = CONTEXT + HORIZON + 2  # more than is needed
    return [
        Clip(rng.integers(0, 200, (T, 8, 8, 3), np.uint8), np.zeros((T, 4), np.float32), rng.integers(0, 3, T))
        for _ in range(5)
    ]


def test_the_decibels_of_a_known_error(clips):
    found = quality(Seer(clips, 2), Seer(clips, 4), clips, CONTEXT, HORIZON, seed=5)
    assert found["reference"] == pytest.approx(20 * np.log10(255 / 2))
    assert found["change"] == pytest.approx(-20 * np.log10(2)) and found["change_error"] == pytest.approx(0, abs=1e-9)
    assert found["change_mean"] == pytest.approx(0.75 * found["change"])  # the first frame is the same
    assert found["apart"] == pytest.approx(20 * np.log10(255 / 2)) and found["clips"] == 5


def test_no_change_costs_nothing(clips):
    found = quality(Seer(clips), Seer(clips), clips, CONTEXT, HORIZON, seed=5)
    assert found["change"] == 0 and found["apart"] == 100


@pytest.mark.parametrize("count", [0, 5])
def test_clips_that_are_too_short_are_refused(clips, count):
    with pytest.raises(MlxworldError, match="quality needs clips of at least 10 frames"):
        quality(Seer(clips), Seer(clips), clips[:count], CONTEXT, 7)
