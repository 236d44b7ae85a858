"""Answers to keys, and coming back, in games whose answers are known."""

import numpy as np
import pytest

from mlxworld.evaluate.answers import answer_report, first_answers, return_report

RATE, S, SIZE, CONTEXT = 7680, 256, 32, 6
KEYS = ("noop", "left", "right")


class Slow:
    """A game whose block moves `seen` frames after a key (1: at once) and beeps `heard` frames after it begins."""

    def __init__(self, seen: int = 1, heard: int = 1, forgets: bool = False, noise: int = 0):
        self.seen, self.heard, self.forgets, self.noise = seen, heard, forgets, noise

    def __call__(self, actions: np.ndarray):
        N, T = actions.shape
        rng = np.random.default_rng(self.noise)
        video = np.full((N, T, SIZE, SIZE, 3), 40, np.uint8)
        video[:, :, :4] = rng.integers(40, 50, (N, 1, 4, SIZE, 3))
        video[:, :, 28:] = 200
        audio = np.zeros((N, T, S), np.float32)
        tone = 0.3 * np.sin(np.arange(S) / 4).astype(np.float32)
        for n in range(N):
            x = 14
            for t in range(T):
                late = t - self.seen + 1
                x += 0 if late < 0 else (0, -1, 1)[actions[n, late]]
                video[n, t, 10:14, np.clip(x, 0, 28) : np.clip(x, 0, 28) + 4] = 230
                if self.forgets and x != 14:
                    video[n, t:, 28:] = 90
                late = t - self.heard + 1
                if late > 0 and actions[n, late] and not actions[n, late - 1]:
                    audio[n, t] = tone
        return video, audio


def idle(N: int = 4, T: int = CONTEXT + 8) -> np.ndarray:
    return np.zeros((N, T), int)


def test_the_first_frame_that_differs():
    held = idle()
    held[:, CONTEXT:] = 1
    game = Slow(seen=3, heard=2)
    seen, heard = first_answers(game(idle()), game(held), CONTEXT, RATE)
    assert seen.tolist() == [3] * 4 and heard.tolist() == [2] * 4
    seen, heard = first_answers(game(idle()), game(idle()), CONTEXT, RATE)
    assert np.isinf(seen).all() and np.isinf(heard).all()


def test_answers_beside_the_real_game_and_noise():
    rollouts = {"model": Slow(3, 5), "real game": Slow(1, 1), "other noise": Slow(noise=1)}
    table = answer_report(rollouts, idle(), CONTEXT, KEYS, RATE)
    assert table.value("answer_seen") == 3 and table.value("answer_heard") == 5 and table.value("answered_seen") == 1
    assert table.value("answer_seen", "real game") == table.value("answer_heard", "real game") == 1
    assert table.value("answered_seen", "other noise") == table.value("answered_heard", "other noise") == 0
    assert np.isnan(table.value("answer_seen", "other noise"))
    deaf = answer_report({"model": Slow(99, 99)}, idle(), CONTEXT, KEYS, RATE)
    assert deaf.value("answered_seen") == 0


def test_every_key_but_the_first_is_tried():
    told = []

    def spy(actions):
        told.append(actions.copy())
        return Slow()(actions)

    answer_report({"model": spy}, idle(), CONTEXT, KEYS, RATE)
    held = told[-1][:, CONTEXT:]
    assert sorted(set(held[:, 0])) == [1, 2] and (held == held[:, :1]).all()
    assert all((actions[:, :CONTEXT] == 0).all() for actions in told)


def test_who_comes_back_and_who_forgets():
    rollouts = {"model": Slow(forgets=True), "real game": Slow()}
    table = return_report(rollouts, idle(), CONTEXT, KEYS, away=5)
    assert table is not None
    assert table.value("return_back", "real game") == 100 > table.value("return_back") + 60
    assert table.value("return_away", "real game") < 100  # it was really away
    assert table.value("return_back", "stayed") == 100
    assert len(table.pictures) == 2 and table.pictures[0].image.shape[0] == SIZE


def test_a_world_without_opposite_keys_cannot_return():
    assert return_report({"model": Slow()}, idle(), CONTEXT, ("noop", "fire", "left")) is None


@pytest.mark.parametrize("name", ["bounce"])
def test_the_real_game_is_a_rollout(name):
    from mlxworld.evaluate.game import Game, open_game

    source = open_game(name)
    assert source is not None and open_game("no such game") is None
    game = Game(source, (128, 128), seed=3, lead=5)
    actions = np.zeros((2, 12), int)
    video, audio = game(actions)
    again = game(actions)
    assert video.shape == (2, 12, 128, 128, 3) and audio.shape == (2, 12, 1024)
    assert np.array_equal(video, again[0]) and not np.array_equal(video[0], video[1])
    actions[:, 6:] = 2
    pushed = game(actions)[0]
    assert np.array_equal(pushed[:, :6], video[:, :6]) and not np.array_equal(pushed[:, -1], video[:, -1])
    small = Game(source, (64, 64), seed=3, lead=5)(actions)[0]
    assert np.abs(small[0, 0].mean((0, 1)) - pushed[0, 0].mean((0, 1))).max() < 1
    source.close()
