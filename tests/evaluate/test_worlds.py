"""The figures of each world on real clips: the ceiling is high, and a dream that is wrong in one way shows it there."""

import numpy as np
import pytest
from PIL import Image

from mlxworld.data import make_policy, open_source
from mlxworld.data.envs.doom import has_openal
from mlxworld.evaluate.figures import REAL, Clips
from mlxworld.evaluate.worlds import bounce, doom, jumper

CONTEXT = 8


def clips_of(name, policy, count, frames, lead=30):
    """Clips of games of their own, with their state; `late` is the truth some frames late, `mute` has no sound."""
    source, video, audio, state = open_source(name), [], [], []
    for seed in range(count):
        player, step = make_policy(policy, source, seed), source.reset(seed)
        seen = []
        for t in range(lead + frames):
            seen += [step] if t >= lead else []
            if step.done:
                step = source.reset(seed + 500)
            step = source.step(player.act(step))
        pictures = [Image.fromarray(s.video).resize((128, 128), Image.Resampling.BOX) for s in seen]
        video.append(np.stack([np.asarray(p) for p in pictures]))
        audio.append(np.stack([s.audio for s in seen]))
        state.append({key: np.stack([s.state[key] for s in seen]) for key in seen[0].state})
    source.close()
    v, a = np.stack(video), np.stack(audio)
    known = {key: np.stack([s[key] for s in state]) for key in state[0]}
    dreams = {"late": (np.roll(v, 5, 1), np.roll(a, 5, 1)), "mute": (v, a * 0), "still": (v * 0 + v[:, :1], a)}
    return Clips(v, a, dreams, CONTEXT, round(source.fps * source.samples), state=known)


@pytest.fixture(scope="module")
def levels():
    return clips_of("jumper", "scripted", 8, CONTEXT + 64)


def test_jumper(levels):
    found = jumper.report(levels)
    assert found.value("scroll", REAL) >= 0.85 and found.value("jump_rises", REAL) >= 0.85
    assert found.value("jump_heard", REAL) >= 0.7 and found.value("coin_heard", REAL) >= 0.5
    assert found.value("terrain", REAL) == 100 and found.facts["jumps"] >= 10
    assert found.value("scroll", "still") < 0.3 and found.value("jump_rises", "still") < 0.3
    assert found.value("jump_heard", "late") < 0.5 * found.value("jump_heard", REAL)
    assert found.value("jump_heard", "mute") == 0 and found.value("terrain", "still") < 25
    levels_unknown = Clips(levels.video, levels.audio, levels.dreams, CONTEXT, levels.sample_rate)
    assert jumper.report(levels_unknown).rows == []


def test_the_shift_of_a_level_is_read(levels):
    camera = levels.state["camera"].astype(int)
    steps = np.abs(np.diff(camera)).max(1) <= jumper.FASTEST
    read = np.stack([jumper.shifts(clip) for clip in levels.video])
    assert (read == np.diff(camera))[steps].mean() > 0.97


def test_bounce():
    found = bounce.report(clips_of("bounce", "scripted", 10, CONTEXT + 20, lead=10))
    assert (
        found.value("ball_near", REAL) == 1
        and found.value("hit_heard", REAL) > 0.7
        and found.value("hit_pitch", REAL) > 0.75
    )
    assert found.value("ball_near", "still") < 0.5 and found.value("hit_heard", "mute") == 0
    assert found.value("hit_heard", "late") < 0.8 * found.value("hit_heard", REAL)
    high = clips_of("bounce", "scripted", 4, CONTEXT + 20, lead=10)
    high.state["pitch"] = high.state["pitch"] * 1.3
    assert bounce.report(high).value("hit_pitch", REAL) < 0.5


@pytest.mark.skipif(not has_openal(), reason="Doom's sound needs OpenAL: libopenal1 on Debian")
def test_doom():
    found = doom.report(clips_of("doom:defend_the_line", "scripted", 8, CONTEXT + 32, lead=5))
    assert (
        found.value("turn", REAL) > 0.7
        and found.value("shot_heard", REAL) > 0.6
        and found.value("shot_seen", REAL) > 0.7
    )
    assert found.value("monster_stays", REAL) == 1 and found.facts["turns"] > 30 and found.facts["monsters"] >= 5
    assert found.value("turn", "still") == 0 and found.value("shot_heard", "mute") == 0
    assert found.value("shot_seen", "still") < 0.6 and found.value("monster_stays", "still") < 0.8
