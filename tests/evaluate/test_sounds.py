"""Names of sounds and their instants."""

import numpy as np
import pytest

from mlxworld.evaluate.audio import onsets
from mlxworld.evaluate.sounds import Names, named_f1, offsets

RATE, S = 30720, 1024


def beeps(spans: list[tuple[float, float, float]], frames: int = 40) -> np.ndarray:
    """(T, S): tones from `start` to `stop` (frames) at a pitch."""
    t = np.arange(frames * S)
    wave = np.zeros(frames * S)
    for start, stop, pitch in spans:
        on = (t >= start * S) & (t < stop * S)
        wave[on] = 0.4 * np.sin(2 * np.pi * pitch * t[on] / RATE)
    return wave.reshape(frames, S).astype(np.float32)


@pytest.fixture
def real() -> np.ndarray:
    low, high = 300, 1500
    return np.stack(
        [
            beeps([(3, 5, low), (10, 12, high), (17, 19, low), (25, 27, high)]),
            beeps([(5, 7, high), (14, 16, low), (22, 24, low), (30, 32, high)]),
        ]
    )


def test_sounds_are_grouped_and_named_by_their_pitch(real):
    names = Names.of(real, onsets(real), RATE)
    hertz = sorted(float(name.removesuffix(" Hz")) for name in names.names)
    assert hertz == pytest.approx([300, 1500], rel=0.15)
    kinds = names.name(real, onsets(real), RATE)
    assert (kinds >= 0).sum() == 8 and kinds[0, 3] == kinds[1, 14] != kinds[0, 10]
    rare = np.concatenate([real, real, real, np.stack([beeps([(8, 10, 5000)])] * 1)])
    assert len(Names.of(rare, onsets(rare), RATE).names) == 2  # heard once, it is no kind


def test_the_right_sound_at_the_right_time_counts(real):
    begins = onsets(real)
    names = Names.of(real, begins, RATE)

    def f1(dream):
        return named_f1(names.name(real, begins, RATE), names.name(dream, onsets(dream), RATE), 2)

    assert f1(real) == 1
    swapped = np.stack([beeps([(3, 5, 1500), (10, 12, 300), (17, 19, 1500), (25, 27, 300)]), real[1]])
    assert f1(swapped) == 0.5  # on time, under the other name
    assert f1(np.roll(real, 3, 1)) == 0
    silent = 0 * real
    assert f1(silent) == 0
    nothing = Names.of(silent, onsets(silent), RATE)
    assert nothing.names == () and np.isnan(named_f1(nothing.name(real, begins, RATE), begins * 0 - 1, 0))


@pytest.mark.parametrize("late", [0, 0.25, 0.75, -0.5])
def test_milliseconds_of_an_onset(late):
    one, other = (np.stack([beeps([(6 + x, 9, 700), (20.3 + x, 24, 700)])]) for x in (0, late))
    found = offsets(one, other, onsets(one), onsets(other), RATE)
    assert len(found) == 2 and found == pytest.approx(late * 1e3 * S / RATE, abs=3)


def test_offsets_of_nothing():
    silent = np.zeros((2, 10, S), np.float32)
    assert len(offsets(silent, silent, onsets(silent), onsets(silent), RATE)) == 0
