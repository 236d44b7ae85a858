import json

import numpy as np
import pytest

from mlxworld.errors import MlxworldError
from mlxworld.evaluate.audio import onsets
from mlxworld.evaluate.figures import Clips
from mlxworld.evaluate.report import report
from mlxworld.evaluate.worlds.pong import report as pong_report

CONTEXT, T = 8, 40


@pytest.fixture(scope="module")
def truth(pong_truth):
    beeps = np.flatnonzero(onsets(pong_truth.audio[:960]))
    starts = beeps[beeps > 60][::3][:6] - CONTEXT - 5  # each clip has a sound among those of the dream
    return tuple(np.stack([x[s : s + T] for s in starts]) for x in (pong_truth.video, pong_truth.audio))


@pytest.fixture(scope="module")
def table(truth):
    """`model` dreams with a pale picture and hiss; `late` is the truth two frames late."""
    video, audio = truth
    rng = np.random.default_rng(0)
    pale = np.clip(video * 0.95 + 4, 0, 255).astype(np.uint8)
    hiss = (0.8 * audio + rng.normal(0, 0.001, audio.shape)).astype(np.float32)
    pale[:, :CONTEXT] = 0  # nobody looks at a dream's context
    late = np.roll(video, 2, 1), np.roll(audio, 2, 1)
    clips = Clips(video, audio, {"model": (pale, hiss), "late": late}, CONTEXT, 30720)
    return report(clips) + pong_report(clips)


def test_a_good_dream_beats_every_baseline(table):
    dull = ("repeat last", "mean frame", "another clip")
    lower = ["moving_error_1", "moving_error_4", "moving_error_16", "stft_distance"]
    higher = ["onset_f1", "paddle_near", "enemy_near", "ball_near"]
    for name in dull:
        assert all(table.value(key) < table.value(key, name) for key in lower), name
        assert all(table.value(key) > table.value(key, name) for key in higher), name
    assert table.value("onset_f1") == 1 and table.value("paddle_near") == 1 and table.value("ball_near") > 0.99
    assert table.value("ball_visible") > 0.98 and table.value("ball_false") < 0.02
    assert table.value("paddle_error") < 0.3


def test_figures_see_what_they_are_for(table):
    assert table.value("onset_f1", "late") < 0.5  # two frames late is out of the tolerance
    assert table.value("moving_error_4", "late") > 2 * table.value("moving_error_4")
    assert table.value("ball_visible", "mean frame") == 0 and table.value("paddle_near", "mean frame") == 0
    assert table.value("ball_visible", "repeat last") > 0.5 > table.value("ball_near", "repeat last")
    assert table.value("moving_error_1", "repeat last") < table.value("moving_error_16", "repeat last")
    assert table.facts["clips"] == 6 and table.facts["frames_watched"] == T - CONTEXT
    assert table.facts["frames_heard"] == 16 and table.facts["real_onsets"] >= 6


def test_the_truth_itself_is_perfect(truth):
    clips = Clips(truth[0], truth[1], {"model": truth}, CONTEXT, 30720)
    table = report(clips, horizons=(1, 4, 99)) + pong_report(clips)
    assert table.value("psnr_4") == 100 and table.value("ssim_4") == pytest.approx(1)
    assert table.value("moving_error_1") == table.value("log_mel_distance") == 0
    assert table.value("ball_visible") == table.value("paddle_near") == 1
    assert table.value("ball_false") == 0
    assert not [row.key for row in table.rows if row.key.endswith("_99")]  # longer than the clips


def test_horizon_h_is_the_hth_dreamt_frame(truth):
    video, audio = truth
    dream = np.zeros_like(video)
    dream[:, [CONTEXT, CONTEXT + 3, T - 1]] = video[:, [CONTEXT, CONTEXT + 3, T - 1]]
    table = report(Clips(video, audio, {"model": (dream, audio)}, CONTEXT, 30720), horizons=(1, 2, 4, T - CONTEXT))
    assert [table.value(f"l1_{h}") > 0 for h in (1, 2, 4, T - CONTEXT)] == [False, True, False, False]


def test_the_control_is_another_clips_dream(truth):
    video, audio = truth
    clips = Clips(video, audio, {"model": truth}, CONTEXT, 30720)
    shuffled = clips.candidates["another clip"]
    for k in range(6):
        np.testing.assert_array_equal(shuffled[0][k, :CONTEXT], video[k, :CONTEXT])
        assert not (shuffled[0][k, CONTEXT:] == video[k, CONTEXT:]).all()
    frozen = clips.candidates["repeat last"]
    assert (frozen[0][:, CONTEXT:] == video[:, CONTEXT - 1 : CONTEXT]).all()
    assert (frozen[1][:, CONTEXT:] == audio[:, CONTEXT - 1 : CONTEXT]).all()
    mean = np.full(video.shape[2:], 7, np.uint8)
    assert (Clips(video, audio, {"m": truth}, 8, 30720, mean).candidates["mean frame"][0][:, 8:] == 7).all()


def test_json_and_markdown(table, truth):
    figures = json.loads(json.dumps(table.as_dict(), allow_nan=False))["figures"]
    assert figures["paddle_near"]["model"] == 1
    assert figures["paddle_error"]["mean frame"] is None  # no paddle, no error of it
    lines = table.markdown().splitlines()
    assert lines[0] == "| figure | model | late | real frames | repeat last | mean frame | another clip |"
    assert len(lines) == 2 + len(table.rows) and all(line.count("|") == lines[0].count("|") for line in lines)
    row = next(line for line in lines if "player's paddle within 4 px" in line)
    assert "↑, wanted 0.980 | 1.000 |" in row


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": 0}, "context is between"),
        ({"context": T}, "context is between"),
        ({"dreams": {}}, "needs a dream"),
        ({"video": np.zeros((6, T, 128, 128), np.uint8)}, "clips are video"),
        ({"dreams": {"m": (np.zeros((6, 2, 128, 128, 3), np.uint8), np.zeros((6, 2, 1024)))}}, "dream 'm' has video"),
    ],
)
def test_clips_that_do_not_fit_are_refused(truth, change, message):
    video, audio = truth
    good = {"video": video, "audio": audio, "dreams": {"m": truth}, "context": CONTEXT, "sample_rate": 30720}
    with pytest.raises(MlxworldError, match=message):
        Clips(**(good | change))
    with pytest.raises(MlxworldError, match="two clips"):
        Clips(video[:1], audio[:1], {"m": (video[:1], audio[:1])}, CONTEXT, 30720)
