"""The reader of keys, on a square that they move."""

import numpy as np
import pytest

from mlxworld.evaluate.keys import Eye, KeyReader, macro_f1

MOVES = ((0, 0), (-2, 0), (2, 0), (0, -2), (0, 2))


def played(seed: int, clips: int = 6, frames: int = 60, size: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Clips in which a yellow square goes where the keys say, a frame late, beside a blue one that goes its own way."""
    rng = np.random.default_rng(seed)
    video = np.full((clips, frames, size, size, 3), 30, np.uint8)
    actions = np.repeat(rng.integers(0, 5, (clips, frames // 4)), 4, axis=1)
    for n in range(clips):
        place, other = np.array([20.0, 20.0]), rng.integers(4, 40, 2)
        for t in range(frames):
            if t:
                place = np.clip(place + MOVES[actions[n, t - 1]], 2, size - 10)
            other = np.clip(other + rng.integers(-2, 3, 2), 2, size - 8)
            (x, y), (u, v) = place.astype(int), other
            video[n, t, v : v + 6, u : u + 6] = (60, 90, 230)
            video[n, t, y : y + 8, x : x + 8] = (240, 200, 60)
    return video, actions


@pytest.fixture(scope="module")
def reading():
    real, keys = played(0, clips=10)
    eye = Eye(real)
    return eye, KeyReader.fit(eye(real), keys, 5)


def test_keys_are_read_from_clips_that_were_never_seen(reading):
    eye, reader = reading
    video, keys = played(1)
    assert macro_f1(keys, reader.read(eye(video))) > 0.75
    assert macro_f1(np.roll(keys, 3, 0), reader.read(eye(video))) < 0.4  # other clips' keys
    frozen = np.repeat(video[:, :1], video.shape[1], 1)
    assert macro_f1(keys, reader.read(eye(frozen))) < 0.2


def test_a_dream_that_mistakes_left_for_right_is_told(reading):
    eye, reader = reading
    video, keys = played(1)
    mirrored = reader.read(eye(video[:, :, :, ::-1]))
    left, right = keys == 1, keys == 2
    assert (mirrored[left] == 2).mean() > 0.6 < (mirrored[right] == 1).mean()


def test_the_same_frames_give_the_same_reader(reading):
    real, keys = played(0, clips=2)
    one, two = (KeyReader.fit(Eye(real)(real), keys, 5) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one.layers, two.layers, strict=True))


def test_frames_in_which_nothing_moves_are_no_error():
    still = np.full((2, 12, 33, 40, 3), 90, np.uint8)
    keys = np.arange(24).reshape(2, 12) % 3
    read = KeyReader.fit(Eye(still)(still), keys, 3).read(Eye(still)(still))
    assert read.shape == (2, 12)


def test_macro_f1():
    truth = np.array([0, 0, 0, 1])
    assert macro_f1(truth, truth) == 1
    assert macro_f1(truth, np.zeros(4, int)) == pytest.approx((6 / 7 + 0) / 2)
