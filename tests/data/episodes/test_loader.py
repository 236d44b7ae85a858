"""Batches: a pure function of (seed, number), whatever prepares them; clips stay inside their episodes."""

import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxworld.data import Clips, DatasetInfo, FrameStore, clip_starts
from mlxworld.errors import MlxworldError

S = 8


def a_cache(lengths) -> FrameStore:
    """Episodes in which every frame, sound and action tells its own number."""
    N = sum(lengths)
    numbers = np.arange(N)
    video = np.broadcast_to(numbers.astype(np.uint8)[:, None, None, None], (N, 4, 6, 3))
    audio = np.broadcast_to(numbers.astype(np.int16)[:, None], (N, S))
    names = tuple(map(str, range(len(lengths))))
    info = DatasetInfo(30, S, (4, 6))
    return FrameStore(info, video, audio, numbers.astype(np.int32), np.cumsum([0, *lengths]), names, (), ())


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 30), st.integers(0, 2**40), st.data())
def test_clips_stay_inside_episodes(lengths, T, seed, data):
    cache = a_cache(lengths)
    if max(lengths) < T:
        with pytest.raises(MlxworldError, match=f"no episode has {T} frames: the longest of {len(lengths)}"):
            clip_starts(cache, T, 4, seed, 0)
        return
    index = data.draw(st.integers(0, 2**40))
    starts = clip_starts(cache, T, 16, seed, index)
    episode = np.searchsorted(cache.offsets, starts, side="right") - 1
    assert (starts >= cache.offsets[episode]).all() and (starts + T <= cache.offsets[episode + 1]).all()
    assert (starts == clip_starts(cache, T, 16, seed, index)).all()


def test_every_clip_is_drawn_about_equally_often():
    cache = a_cache([5, 2, 9, 3])  # clips of 3 frames: 3 + 0 + 7 + 1
    drawn = np.concatenate([clip_starts(cache, 3, 100, 0, i) for i in range(110)])
    starts, counts = np.unique(drawn, return_counts=True)
    assert starts.tolist() == [0, 1, 2, 7, 8, 9, 10, 11, 12, 13, 16]
    assert counts.min() > 880 and counts.max() < 1120  # 1,000 each, four deviations


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 12), st.data())
def test_clips_are_drawn_around_rare_moments(lengths, T, data):
    cache = a_cache(lengths)
    moments = data.draw(st.lists(st.integers(0, sum(lengths) - 1), min_size=1, max_size=4, unique=True))
    episode = np.searchsorted(cache.offsets, moments, side="right") - 1
    usable = [m for m, e in zip(moments, episode, strict=True) if lengths[e] >= T]
    if max(lengths) < T:
        return
    some = replace(cache, rare=np.array(moments))
    drawn = clip_starts(some, T, 200, 1, 2, rare=1.0)
    if not usable:
        assert (drawn == clip_starts(cache, T, 200, 1, 2)).all()
        return
    holds = (drawn[:, None] <= usable) & (np.array(usable) < drawn[:, None] + T)
    assert holds.any(1).all() and holds.any(0).all()
    episode = np.searchsorted(cache.offsets, drawn, side="right") - 1
    assert (drawn + T <= cache.offsets[episode + 1]).all()


def test_rare_moments_get_their_share_and_leave_other_batches_as_they_are():
    cache = replace(a_cache([5000]), rare=np.array([777]))
    drawn = clip_starts(cache, 10, 4000, 0, 0, rare=0.25)
    share = np.mean((drawn <= 777) & (drawn + 10 > 777))
    assert 0.22 < share < 0.29
    assert (Clips(cache, 4000, 10, 0, rare=0.25).batch(0)["actions"][:, 0] == drawn).all()
    assert (clip_starts(cache, 10, 4000, 0, 0) == clip_starts(a_cache([5000]), 10, 4000, 0, 0)).all()


@pytest.fixture
def cache() -> FrameStore:
    return a_cache([40, 3, 60])


def test_a_batch_is_what_its_starts_say(cache):
    clips = Clips(cache, 5, 7, seed=3)
    batch = clips.batch(11)
    rows = clip_starts(cache, 7, 5, 3, 11)[:, None] + np.arange(7)
    assert (batch["actions"] == rows).all() and batch["actions"].dtype == np.int32
    assert (batch["video"] == rows[..., None, None, None]).all() and batch["video"].dtype == np.uint8
    assert (batch["audio"] == (rows / 32768)[..., None]).all() and batch["audio"].dtype == np.float32
    assert batch["video"].shape == (5, 7, 4, 6, 3) and batch["audio"].shape == (5, 7, S)
    clips.close()


def equal(a, b):
    return a.keys() == b.keys() and all(a[key].dtype == b[key].dtype and (a[key] == b[key]).all() for key in a)


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_come_in_order_and_resume_where_they_stopped(cache, workers):
    clips = Clips(cache, 4, 8, seed=1, workers=workers)
    first = [next(clips) for _ in range(12)]
    clips.close()
    assert all(equal(batch, clips.batch(i)) for i, batch in enumerate(first))
    resumed = Clips(cache, 4, 8, seed=1, start=5, workers=workers)
    assert all(equal(next(resumed), first[i]) for i in range(5, 12))
    resumed.close()
    other = Clips(cache, 4, 8, seed=2)
    assert not equal(next(other), first[0]) and not equal(first[0], first[1])
    other.close()


@pytest.mark.platform
def test_mlx_data_gives_the_same_batches(cache, monkeypatch):
    pytest.importorskip("mlx.data", reason="mlx-data has no wheel for this machine")
    monkeypatch.setattr(sys.modules[Clips.__module__], "_CHUNK", 8)  # the border between two pipelines is crossed
    feeders = [Clips(cache, 4, 8, seed=1, start=3, feeder=feeder) for feeder in ("threads", "mlx-data")]
    for _ in range(20):
        assert equal(*(next(clips) for clips in feeders))
    for clips in feeders:
        clips.close()


@pytest.mark.parametrize(("makes", "uses"), [(0.1, 0.0), (0.0, 0.1)])
def test_it_tells_how_long_its_user_has_waited(cache, monkeypatch, makes, uses):
    monkeypatch.setattr(Clips, "batch", lambda self, index: time.sleep(makes) or {})
    clips = Clips(cache, 4, 8, seed=1, workers=1, ahead=1)
    for _ in range(4):
        next(clips)
        time.sleep(uses)
    clips.close()
    assert clips.waited > 0.35 if makes else clips.waited < 0.3


def test_bad_settings(cache, monkeypatch):
    with pytest.raises(MlxworldError, match="longest of 3 has 60"):
        Clips(cache, 1, 61, seed=0)
    with pytest.raises(MlxworldError, match="unknown feeder"):
        Clips(cache, 1, 6, seed=0, feeder="magic")
    monkeypatch.setattr(sys.modules[Clips.__module__], "_has_mlx_data", lambda: False)
    with pytest.raises(MlxworldError, match="pip install mlx-data"):
        Clips(cache, 1, 6, seed=0, feeder="mlx-data")
