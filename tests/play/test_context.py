"""What a world begins from: a picture of any size, a film with its sound and actions, and what is refused."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlxworld import Clip, MlxworldError
from mlxworld.data.episodes.actions import write_names
from mlxworld.data.episodes.media import read_clip, write_clip
from mlxworld.play.context import clip_of
from tests.models.small import SMALL, changed, clip
from tests.play.played import load, play, same, write

KEEP = SMALL.context_frames + SMALL.receptive_field


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worlds") / "small")


def pictures(frames=3):
    return clip(frames=frames)["video"][0]


def of(context, cfg=SMALL):
    return clip_of(context, cfg, "small")


def test_a_picture_is_a_silent_beginning_of_one_frame(folder, backend):
    world, picture = load(folder, backend), pictures()[0]
    given = Clip(picture[None], np.zeros((1, 256), np.float32), np.zeros(1, np.int32))
    first = world.reset(seed=1, context=given)
    future = play(world)
    alike: tuple[Any, ...] = picture, picture[None], Image.fromarray(picture)
    for context in alike:
        assert np.array_equal(world.reset(seed=1, context=context).video, first.video)
        assert same(play(world), future)
    world.reset(seed=1, context=pictures()[1])
    assert not same(play(world), future)


def test_pictures_of_any_size_are_cut_to_the_middle_and_averaged():
    picture = pictures()[0]
    large = np.zeros((96, 192, 3), np.uint8)
    large[:, 48:144] = picture.repeat(3, axis=0).repeat(3, axis=1)
    assert np.abs(of(large).video[0].astype(int) - picture).max() <= 8  # colours on their way through YUV
    tall = large.swapaxes(0, 1)
    assert np.abs(of(tall).video[0].astype(int) - picture.swapaxes(0, 1)).max() <= 8
    assert of(picture[:7, :9]).video.shape == (1, 32, 32, 3)
    with_alpha = np.concatenate([picture, np.full((32, 32, 1), 9, np.uint8)], axis=2)
    assert np.array_equal(of(with_alpha).video[0], picture)
    grey = of(picture[..., 0]).video[0]
    assert np.array_equal(grey, picture[..., :1].repeat(3, axis=2))


def test_of_many_pictures_the_last_count():
    many = pictures(KEEP + 4)
    assert np.array_equal(of(many).video, many[-KEEP:])


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
@pytest.mark.parametrize("fps", [1, 30, 120])
def test_a_file_of_a_picture_is_one_frame(tmp_path, kind, fps):
    path = tmp_path / f"drawn.{kind}"
    Image.fromarray(pictures()[0]).save(path, quality=95)
    found = of(path, changed(fps=fps))
    assert found.video.shape == (1, 32, 32, 3) and found.actions.tolist() == [0] and not found.audio.any()
    tolerance = 0 if kind == "png" else 40
    assert np.abs(found.video[0].astype(int) - pictures()[0]).mean() <= tolerance / 4
    assert np.array_equal(of(str(path), changed(fps=fps)).video, found.video)


@pytest.mark.parametrize("frames", [2, KEEP, KEEP + 9])
def test_a_film_keeps_its_sound_and_actions(tmp_path, frames):
    """Only the end of a long film is kept: picture, sound and actions of the same frames."""
    given, path = {n: x[0] for n, x in clip(frames=frames).items()}, tmp_path / "film.mp4"
    write_clip(path, given["video"], given["audio"], SMALL.fps, SMALL.sample_rate)
    found = of(path)
    video, audio = read_clip(path, (32, 32), SMALL.fps, SMALL.samples)
    assert np.array_equal(found.video, video[-KEEP:]) and np.array_equal(found.audio, audio[-KEEP:])
    assert np.abs(found.audio - given["audio"][-KEEP:]).max() < 1e-3 and not found.actions.any()
    write_names(path, [SMALL.actions[a] for a in given["actions"]])
    assert np.array_equal(of(path).actions, given["actions"][-KEEP:])


def test_what_is_no_beginning_is_refused_in_one_line(tmp_path):
    text, empty, film = tmp_path / "notes.txt", tmp_path / "empty.png", tmp_path / "film.mp4"
    text.write_text("no picture")
    empty.write_bytes(b"")
    given = {n: x[0] for n, x in clip(frames=4).items()}
    write_clip(film, given["video"], given["audio"], SMALL.fps, SMALL.sample_rate)
    write_names(film, ["noop", "jump", "noop", "noop"])
    for context, message in (
        (tmp_path / "absent.png", "no such file"),
        (text, "not a readable video"),
        (empty, "the file is empty"),
        (film, "unknown action .jump."),
        (1.0, "a context is a start clip's number, a Clip, a path, or a picture.*not float"),
        (object(), "not object"),
        ([1, 2], r"not an array of shape \(2,\)"),
        (np.zeros((8, 8, 2), np.uint8), r"not an array of shape \(1, 8, 8, 2\)"),
        (np.zeros((0, 8, 3), np.uint8), "not an array of shape"),
        (np.zeros((8, 8, 3), np.float32), "pictures are uint8, 0 to 255, not float32"),
        (np.zeros((1, 90000, 3), np.uint8), "too thin to be cut"),
        ([[1, 2], [3]], "a clip is three arrays|inhomogeneous"),
    ):
        with pytest.raises(MlxworldError, match=message) as raised:
            of(context)
        assert "\n" not in str(raised.value)


def test_a_world_refuses_and_goes_on(folder, backend):
    world = load(folder, backend)
    world.reset(seed=1)
    future = world.fork()
    with pytest.raises(MlxworldError, match="no such file"):
        world.reset(context="absent.png")
    assert same(play(world), play(future))
