"""The detectors against the console's memory, on thousands of real frames and on frames as a decoder spoils them."""

import numpy as np
import pytest

from mlxworld.evaluate import pong


@pytest.fixture(params=["clean", "rough"])
def video(request, pong_truth, rough):
    return pong_truth.video if request.param == "clean" else rough


def test_ball_is_found_where_the_memory_says(video, pong_truth):
    found = pong.ball(video)
    seen = ~np.isnan(found[:, 0])
    visible = (pong_truth.white >= 4) & (pong_truth.white <= 12)  # half a ball or more is out of the borders
    none = pong_truth.white == 0
    assert visible.sum() > 1500 and none.sum() > 150
    assert seen[visible].mean() >= 0.995
    assert seen[none].mean() <= 0.005
    error = np.abs(found - pong_truth.ball)[(pong_truth.white == 8) & seen].max(-1)
    assert np.median(error) < 0.3 and np.quantile(error, 0.999) < 1.5
    assert np.nanmedian(np.abs(np.roll(found, 200, 0) - pong_truth.ball).max(-1)) > 20  # the measure is not lenient


@pytest.mark.parametrize("side", ["player", "enemy"])
def test_paddles_stand_where_the_memory_says(video, pong_truth, side):
    found = pong.paddle_y(video, side)
    truth = pong_truth.paddle(side)
    shown = (truth > 20.7 - 1.5) & (truth < 118.3 + 1.5)  # more than a third is out of the borders
    error = np.abs(found - truth)[shown]
    assert shown.sum() > 2000 and truth[shown].max() - truth[shown].min() > 80
    assert not np.isnan(error).any()
    assert error.mean() < 0.4 and np.quantile(error, 0.999) < 1


def test_an_absent_paddle_and_an_empty_field_are_told(pong_truth):
    field = np.median(pong_truth.video, 0).astype(np.uint8)
    field[21:118] = pong.BACKGROUND
    assert np.isnan(pong.paddle_y(field)) and np.isnan(pong.paddle_y(field, "enemy"))
    assert not pong.ball_in_play(field)
    absent = pong_truth.ram[:, 50] == 0
    assert absent.sum() > 20
    assert np.isnan(pong.paddle_y(pong_truth.video[absent], "enemy")).all()


def test_a_paddle_in_a_wrong_colour_is_no_ball(pong_truth):
    none = pong_truth.video[pong_truth.white == 0].astype(float)
    for gain in (0.85, 1.15):
        video = none.copy()
        video[:, 21:118, 10:18] *= gain
        video[:, 21:118, 110:118] *= gain
        still = np.abs(none - pong.BACKGROUND).max(-1) < 12
        video[still] = none[still]
        assert pong.ball_in_play(np.clip(video, 0, 255).astype(np.uint8)).mean() <= 0.005


def test_noise_alone_is_no_ball(pong_truth):
    none = pong_truth.video[pong_truth.white == 0].astype(np.float32)
    none += np.random.default_rng(1).standard_normal(none.shape, np.float32) * 8
    assert pong.ball_in_play(np.clip(none, 0, 255).astype(np.uint8)).mean() <= 0.005


def test_shapes_and_other_sizes(pong_truth):
    clip = pong_truth.video[200:212]
    whole = pong.ball(clip)
    np.testing.assert_array_equal(pong.ball(clip.reshape(3, 4, *clip.shape[1:])), whole.reshape(3, 4, 2))
    np.testing.assert_array_equal(pong.ball(clip[5]), whole[5])
    assert pong.paddle_y(clip[5]).shape == () and pong.ball_in_play(clip).shape == (12,)
    assert pong.ball(clip[:0]).shape == (0, 2) and pong.paddle_y(clip[:0]).shape == (0,)
    twice = clip.repeat(2, 1).repeat(2, 2)  # the same picture, 256 x 256
    np.testing.assert_allclose(pong.paddle_y(twice), pong.paddle_y(clip), atol=0.4)
    half = clip.reshape(12, 64, 2, 64, 2, 3).mean((2, 4)).astype(np.uint8)
    np.testing.assert_allclose(pong.paddle_y(half), pong.paddle_y(clip), atol=0.6)
    np.testing.assert_allclose(pong.ball(half), whole, atol=1.5)
