"""What a world expects of the next frame, and the sound that it imagines to silent pictures."""

import numpy as np

from mlxworld.data import make_policy, open_source
from mlxworld.data.episodes.pixels import Scaler, rgb
from mlxworld.evaluate.audio import onset_f1, onsets
from mlxworld.play.dream import foresee, hear
from mlxworld.play.world import World
from tests.models.small import SMALL, clip, gap, lively


def test_what_is_expected_depends_on_the_true_past_alone(backend):
    net, given = lively(backend), clip(frames=6)
    z, expected = foresee(backend, net, given["video"], given["audio"], given["actions"])
    assert z.shape == expected.shape == (2, 6, *SMALL.latent_shape)
    later = {name: x.copy() for name, x in given.items()}
    later["video"][:, 3] = 255 - later["video"][:, 3]
    seen, other = foresee(backend, net, later["video"], later["audio"], later["actions"])
    assert gap(seen[:, 3], z[:, 3]) > 1e-3
    assert gap(other[:, :4], expected[:, :4]) < 1e-6  # frame 3 itself was not known when it was expected
    assert gap(other[:, 4], expected[:, 4]) > 1e-4
    later["actions"][:, 5] = (later["actions"][:, 5] + 1) % 3
    moved = foresee(backend, net, later["video"], later["audio"], later["actions"])[1]
    assert gap(moved[:, 5], other[:, 5]) > 1e-4


def test_a_silent_film_is_heard_by_its_pictures_and_keys(backend):
    net, given = lively(backend), clip(frames=6)
    samples = SMALL.samples
    sound = hear(backend, net, given["video"], given["actions"], samples)
    assert sound.shape == (2, 6, samples) and np.isfinite(sound).all()
    assert np.array_equal(sound, hear(backend, net, given["video"], given["actions"], samples))
    changed = given["video"].copy()
    changed[:, 2] = 255 - changed[:, 2]
    other = hear(backend, net, changed, given["actions"], samples)
    assert gap(other[:, :3], sound[:, :3]) < 1e-5 < 1e-4 < gap(other[:, 3], sound[:, 3])


def played(seed: int, skip: int, frames: int) -> tuple[np.ndarray, ...]:
    """Frames of a game of Pong that nobody trained on, with its sound and the keys that led to them."""
    source = open_source("pong")
    player, step, steps = make_policy("scripted", source, seed), source.reset(seed), []
    scale = Scaler()
    for _ in range(skip + frames):
        action = player.act(step)
        step = source.step(action)
        steps.append((scale.resize(rgb(step.video), (128, 128)).to_ndarray(format="rgb24"), step.audio, action))
    source.close()
    video, audio, actions = zip(*steps[skip:], strict=True)
    return np.stack(video), np.stack(audio), np.array(actions, np.int32)


def test_pong_is_heard_from_silent_pictures():
    """Onsets of the shipped world, imagined to a film that it sees without sound, against those of the game."""
    rallies = ((518, 208), (519, 192), (523, 160), (525, 248))  # seed, and steps before a ball that is hit often
    clips = [played(*rally, 56) for rally in rallies]
    video, audio, actions = (np.stack(x) for x in zip(*clips, strict=True))
    world = World.load("pong", "torch", precision="float32")
    heard = hear(world.package, world.model, video, actions, world.samples)
    real, imagined = (onsets(x)[:, 12:] for x in (audio, heard))
    assert real.sum() == 12
    assert onset_f1(real, imagined) > 0.75
    assert onset_f1(real, np.roll(imagined, 1, 0)) < 0.5  # another clip's
