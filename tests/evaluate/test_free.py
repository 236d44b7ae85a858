"""The rules of a game, read from long dreams: real games keep them, and each fault that is planted is seen."""

import numpy as np
import pytest
from PIL import Image

from mlxworld.data import open_source
from mlxworld.evaluate import pong as reader
from mlxworld.evaluate.free import __main__ as free
from mlxworld.evaluate.free import drift, pong, rules_of
from mlxworld.evaluate.video import detail_ratio
from tests.play.small_world import small_world

FPS = 30


@pytest.fixture(scope="module")
def tracks(pong_truth):
    """What is read of three real games of 800 steps."""
    parts = zip(np.split(pong_truth.video, 3), np.split(pong_truth.audio, 3), strict=True)
    return [drift.watch(*part) | pong.watch(*part) for part in parts]


def figures(tracks):
    return {f.key: f for f in pong.figures(tracks, FPS)}


def changed(tracks, **change):
    return [track | {name: made(track[name].copy()) for name, made in change.items()} for track in tracks]


def test_scores_are_read_as_the_memory_has_them(pong_truth, rough):
    truth = pong_truth.ram[:, 13:15]
    late = (np.roll(truth, 1, 0) != truth).any(1)  # a point is drawn a frame after it is made
    assert truth.max() == 3
    for video in (pong_truth.video, rough):
        assert (reader.scores(video) == truth)[~late].mean() > 0.999
    half = pong_truth.video[:200:10].reshape(20, 64, 2, 64, 2, 3).mean((2, 4)).astype(np.uint8)
    assert (reader.scores(half) == truth[:200:10]).all()
    smeared = pong_truth.video[:20].copy()
    smeared[:, :13] = smeared[:, :13].mean((1, 2), keepdims=True)
    assert (reader.scores(smeared) == -1).all()


def test_every_score_is_read():
    console = open_source("atari:Pong")
    step = console.reset(0)
    for score in range(20):
        for place, points in ((13, score), (14, 20 - score)):
            console._ale.setRAM(place, points)  # pyright: ignore[reportAttributeAccessIssue]
        step = console.step(0)
        small = np.asarray(Image.fromarray(step.video).resize((128, 128), Image.Resampling.BOX))
        assert reader.scores(small).tolist() == [score, 20 - score]


def test_a_real_game_keeps_its_rules(tracks):
    found = figures(tracks)
    assert found["paddle_gone"].value == 0 and found["paddle_seen"].value == 1
    for key, least in {"returned_when_hit": 3, "bounce_heard": 20, "score_legal": 5, "point_counted": 5}.items():
        assert found[key].value == 1 and (found[key].count or 0) >= least, key
    assert found["returned_when_missed"].value == 0 and found["score_read"].value > 0.99
    assert np.isnan(found["game_ends"].value) and found["game_ends"].count == 0


def test_each_fault_is_seen(tracks):
    def without_paddle(x):
        x[100:190] = np.nan
        return x

    def vanishing(x):  # a ball that arrives is not seen again
        for t in np.flatnonzero((np.diff(x[:, 0]) < -0.3) & (x[1:, 0] > 90)):
            x[t + 1] = np.nan
        return x

    def jumping(x):
        x[400:, 0] += 7
        return x

    assert figures(changed(tracks, player=without_paddle))["paddle_gone"].value == pytest.approx(3)
    assert figures(changed(tracks, ball=vanishing))["returned_when_hit"].value < 0.5
    assert figures(changed(tracks, scores=jumping))["score_legal"].value < 0.9
    assert figures(changed(tracks, onset=np.zeros_like))["bounce_heard"].value == 0
    assert figures(changed(tracks, scores=lambda x: x * 0))["point_counted"].value == 0
    early = changed(tracks, onset=lambda x: np.roll(x, 9))
    assert figures(early)["bounce_heard"].value < 0.5


def test_a_game_ends_and_a_new_one_begins(tracks):
    def scores(*stands):
        return np.repeat(np.array(stands), 10, 0)

    def of(*stands):
        return figures([tracks[0] | {"scores": scores(*stands)}])

    assert of((20, 3), (21, 3), (0, 0), (0, 1))["game_ends"].value == 1
    assert of((20, 3), (21, 3), (0, 0))["score_legal"].value == 1
    assert of((20, 3), (21, 3), (18, 3))["game_ends"].value == 0
    assert of((20, 3), (21, 3), (22, 3))["score_legal"].value == 0.5
    assert of((2, 3), (-1, 3), (3, 3))["score_legal"].value == 1  # what cannot be read is passed over


def test_drift_tells_a_dream_that_fades(pong_truth, tracks):
    video, audio = pong_truth.video[:600], pong_truth.audio[:600]
    fading = (video * np.linspace(1, 0.5, 600)[:, None, None, None]).astype(np.uint8)
    values = {f.key: f.value for f in drift.figures([drift.watch(fading, audio)], FPS)}
    assert 0.2 < values["drift_brightness"] < 0.35 and values["drift_worst"] >= values["drift_brightness"]
    same = {f.key: f.value for f in drift.figures(tracks, FPS)}
    assert same["drift_brightness"] < 0.01 and same["frozen"] == 0
    still = drift.watch(np.repeat(video[:1], 300, 0), audio[:300])
    assert {f.key: f.value for f in drift.figures([still], FPS)}["frozen"] == 1
    assert drift.segments(still, FPS).shape == (2, len(drift.NAMES))


def test_detail_tells_smeared_from_sharp(pong_truth, rough):
    video = pong_truth.video[:50]
    noisy = np.clip(video + np.random.default_rng(0).normal(0, 12, video.shape), 0, 255).astype(np.uint8)
    assert detail_ratio(video, video) == pytest.approx(1)
    assert detail_ratio(video, rough[:50]) < 0.8 and detail_ratio(video, noisy) > 1.5


def test_the_watcher_plays_to_the_ball(pong_truth):
    watcher = pong.Watcher(("noop", "up", "down"), np.random.default_rng(0))
    gaps = pong_truth.ball[:, 1] - pong_truth.paddle("player")
    clear = (np.abs(gaps) > 12) & (pong_truth.white == 8)
    keys = np.array([watcher.act(frame) for frame in pong_truth.video[clear][:100]])
    assert (keys == np.where(gaps[clear][:100] > 0, 2, 1)).mean() > 0.95


def test_a_world_is_dreamt_and_measured(tmp_path, capsys):
    free.main(["--world", str(small_world(tmp_path / "w")), "--dreams", "2", "--frames", "30", "--player", "sticky"])
    table = capsys.readouterr().out
    assert "largest of these changes" in table and "paddle" not in table  # no rules are known of "small"
    out = tmp_path / "free.json"
    words = ["--world", str(tmp_path / "w"), "--dreams", "2", "--frames", "8", "--source", "pong", "--out", str(out)]
    free.main(words)
    assert '"paddle_gone"' in out.read_text()


def test_chunks_read_what_the_whole_reads(pong_truth, tracks, monkeypatch):
    monkeypatch.setattr(free, "CHUNK", 64)
    rows = lambda a, b: (pong_truth.video[a : min(b, 800)], pong_truth.audio[a : min(b, 800)])  # noqa: E731
    track = free._watch(rows, pong)
    for name, whole in tracks[0].items():
        if name != "onset" and name != "statistics":
            assert np.array_equal(track[name], whole, equal_nan=True), name
    assert (track["onset"] != tracks[0]["onset"]).sum() <= 2
    assert np.allclose(track["statistics"][:, :5], tracks[0]["statistics"][:, :5])


def test_rules_are_found_by_name():
    assert rules_of("pong") is pong
    assert rules_of("drift") is None and rules_of("__main__") is None and rules_of("gym:CartPole-v1") is None
