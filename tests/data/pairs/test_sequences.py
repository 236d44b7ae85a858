"""Clips of one film in turn: their times and scenes, of films and of told days."""

from dataclasses import replace

import numpy as np
import pytest

from mlxworld.data.envs import scenes
from mlxworld.data.pairs import scenes as pairs
from mlxworld.data.pairs.batches import Batches, sequence
from mlxworld.data.pairs.films import Films, opened
from mlxworld.data.pairs.scenes import HELD_OUT, LEARNT, ToldScenes, day_of
from mlxworld.text.rows import texts
from tests.translators import CONFIG, SCENES, film


@pytest.mark.parametrize(("clips", "length", "total"), [(2, 4, 8), (2, 4, 16), (8, 16, 4800), (5, 4, 23), (5, 4, 24)])
def test_clips_follow_each_other_but_at_boundaries(clips, length, total):
    gaps, cuts, classes = [], [], np.zeros(4, int)
    for seed in range(300):
        starts, scene = sequence(np.random.default_rng(seed), clips, length, total)
        assert starts[0] >= 0 and starts[-1] + length <= total and scene[0] == 0
        gap, new = np.diff(starts) - length, np.diff(scene)
        assert ((gap == 0) == (new == 0)).all() and (new <= 1).all() and (gap[new == 1] >= length).all()
        gaps += list(gap[new == 1])
        cuts.append(new.any())
        apart = (starts[None] - starts[:, None])[np.triu_indices(clips, 1)] / 8
        classes += np.bincount((apart >= 10).astype(int) + (apart >= 60) + (apart > 300), minlength=4)
    assert all(cuts) if total - clips * length >= length else not any(cuts)
    if total == 4800:
        assert (classes > 0.1 * classes.sum()).all(), "each class of distance is seen"
        assert min(gaps) < 2 * length and max(gaps) > 2000


def test_films_give_as_many_clips_in_turn_as_are_asked_for(tmp_path):
    lines = [(i * 0.5, i * 0.5 + 0.5, f"moment {i}") for i in range(4)]
    film(tmp_path / "a.mp4", 20, lines)
    film(tmp_path / "b.mp4", 8, "too short for three")
    store = opened(CONFIG, tmp_path, None, None)
    data = Films(replace(CONFIG, fps=float(store.info.fps), sample_rate=store.info.sample_rate), store, tmp_path)
    assert data.clips == 5 and data.clips_told
    batch = data.batch(np.random.default_rng(0), 30, clips=3)
    time, scene = batch["time"].reshape(10, 3), batch["scene"].reshape(10, 3)
    apart = np.diff(time, axis=1)
    assert ((apart == 0.5) == (np.diff(scene, axis=1) == 0)).all() and (apart >= 0.5).all() and scene.max() > 0
    grey = batch["video"][:, 0].mean((1, 2, 3))
    assert np.abs(grey - (40 + 8 * 8 * batch["time"])).max() <= 2, "the time is that of the frames"
    for text, start in zip(texts(batch["text"], data.tokenizer), batch["time"], strict=True):
        assert f"moment {round(start / 0.5)}" in text or start % 0.5 or start == 2


def test_a_scene_goes_on_as_it_began():
    for seed in range(20):
        scene = scenes.make_scene(seed)
        whole, end = scenes.later(scene, 0.0), scenes.FRAMES / scenes.FPS
        shifted, after = scenes.later(scene, 5 / scenes.FPS), scenes.later(scene, end)
        for a, b, c, d in zip(scene.things, whole.things, shifted.things, after.things, strict=True):
            assert a.path.tobytes() == b.path.tobytes() and a.hits == b.hits
            np.testing.assert_allclose(c.path[:-5], a.path[5:], atol=1e-9)
            all_hits = [*a.hits, *(hit + end for hit in d.hits)]
            seen = [hit - 5 / scenes.FPS for hit in all_hits if 5 / scenes.FPS < hit < 5 / scenes.FPS + end]
            np.testing.assert_allclose(c.hits, seen, atol=1e-9)


def test_a_candle_burns_down_over_the_day():
    heights = []
    for time in (0.0, 150.0, 151.0, 300.0, 599.0, 600.0, 700.0):
        video = np.zeros((2, scenes.SIZE, scenes.SIZE, 3), np.uint8)
        scenes.burn_down(video, time)
        assert not video[:, :, 4:].any() and (video[0] == video[1]).all()
        heights.append(video[0, :, 0, 0].sum() / 255)
    np.testing.assert_allclose(heights[:4], [64, 48, 48 - 64 / 600, 32], atol=0.01)
    assert heights[4] > 0.05 and heights[5:] == [0, 0]


def test_a_day_is_clips_of_scenes_one_after_another_without_words():
    data = ToldScenes(SCENES)
    batch = Batches(data, 16, seed=3, clips=8).batch(5)
    again = Batches(data, 16, seed=3, clips=8).batch(5)
    assert all(batch[name].tobytes() == again[name].tobytes() for name in batch)
    assert set(batch) == {"audio", "image", "video", "time", "scene"} and not data.clips_told
    assert batch["video"].shape == (16, 16, 64, 64, 3) and (batch["image"] == batch["video"][:, 0]).all()
    height = batch["image"][:, :, 0, 0].astype(int)
    assert (np.abs((height > 150).sum(1) - 64 * (1 - batch["time"] / scenes.DAY)) <= 1).all(), "the time can be seen"
    for film_of, scene in zip(batch["video"].reshape(2, 8, 16, 64, 64, 3), batch["scene"].reshape(2, 8), strict=True):
        step = np.abs(film_of[1:, 0].astype(int) - film_of[:-1, -1]).mean((1, 2, 3))  # over the border of two clips
        inside = np.abs(film_of[:, 1:].astype(int) - film_of[:, :-1]).mean((2, 3, 4)).max(1)
        same = np.diff(scene) == 0
        assert (step[same] <= 1.5 * inside[:-1][same] + 0.1).all(), "a clip of the same scene follows on"
        assert step[~same].min() > 1.0


def test_days_held_out_are_of_other_scenes(monkeypatch):
    asked: list[int] = []

    def make(seed):
        asked.append(seed)
        return scenes.make_scene(seed)

    monkeypatch.setattr(pairs, "make_scene", make)
    learnt = day_of(np.random.default_rng(0), 8, 8, LEARNT)
    assert min(asked) >= LEARNT and max(asked) < HELD_OUT
    asked.clear()
    held = day_of(np.random.default_rng(0), 8, 8, HELD_OUT)
    assert min(asked) >= HELD_OUT
    assert (learnt["time"] == held["time"]).all() and (learnt["video"] != held["video"]).any()


def test_clips_of_films_come_beside_other_things():
    batch = Batches(ToldScenes(SCENES), 4, seed=1, beside=4).batch(0)
    plain = Batches(ToldScenes(SCENES), 4, seed=1).batch(0)
    assert all(batch[name].tobytes() == plain[name].tobytes() for name in plain)
    assert set(batch) - set(plain) == {"film", "time", "scene"} and batch["film"].shape == batch["video"].shape
    assert (np.diff(batch["time"]) >= 2).all()
