import numpy as np
import pytest
from PIL import Image

from mlxworld.errors import MlxworldError
from mlxworld.evaluate import strip as figures


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, 10, 16, 24, 3), np.uint8)


def test_real_stands_above_the_dream_frame_by_frame(clips):
    real, dream = clips
    picture = figures.strip(real, dream, every=4, scale=2)
    for column, t in enumerate((0, 4, 8)):
        x = figures.MARGIN + column * (48 + figures.GAP)
        for row, video in enumerate((real, dream)):
            y = figures.TEXT + row * (32 + figures.GAP)
            np.testing.assert_array_equal(picture[y : y + 32, x : x + 48], video[t].repeat(2, 0).repeat(2, 1))
    assert picture.shape[1] == figures.MARGIN + 3 * (48 + figures.GAP)


def test_sound_stands_below_the_frame_that_it_belongs_to(clips):
    real, dream = clips
    t = np.arange(256)
    sound = np.zeros((10, 256), np.float32)
    sound[8:] = 0.9 * np.sin(2 * np.pi * t / 16)
    silent = figures.strip(real, dream, 4, 2)
    picture = figures.strip(real, dream, 4, 2, real_audio=sound, dream_audio=0 * sound, sample_rate=7680)
    top = silent.shape[0]
    np.testing.assert_array_equal(picture[:top], silent)
    lane = picture[top + 4 : top + 28].astype(int)  # inside the real waveform's lane
    blue = (np.abs(lane - figures.REAL).sum(-1) == 0).sum(0)
    third = figures.MARGIN + 2 * (48 + figures.GAP)
    assert blue[third + 4 : third + 20].min() > 20 and blue[figures.MARGIN + 1 : third - 4].max() <= 2
    mel = picture[top + 2 * 36 : top + 2 * 36 + 32]  # dark is loud
    assert mel[:, third + 6 : third + 18].min() < 60 < 200 < mel[:, figures.MARGIN : third - 30].min()
    assert picture[top + 3 * 36 : top + 3 * 36 + 32, figures.MARGIN : third].min() == 255  # a silent dream is white


def test_a_line_marks_where_the_dream_begins(clips):
    picture = figures.strip(clips[0], clips[1], 4, 2, context=4)
    x = figures.MARGIN + 48 + figures.GAP // 2
    assert (picture[:, x] == figures.BORDER).all()


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch, clips):
    path = tmp_path / "strip.png"
    figures.save_png(path, clips[0, 0])
    np.testing.assert_array_equal(np.asarray(Image.open(path)), clips[0, 0])

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(MlxworldError, match="No space left"):
        figures.save_png(path, clips[0, 1])
    np.testing.assert_array_equal(np.asarray(Image.open(path)), clips[0, 0])
    assert [p.name for p in tmp_path.iterdir()] == ["strip.png"]
    with pytest.raises(MlxworldError, match="can't write"):
        figures.save_png(tmp_path / "no" / "strip.png", clips[0, 0])


def test_unlike_videos_are_refused(clips):
    with pytest.raises(MlxworldError, match="one shape"):
        figures.strip(clips[0], clips[1, :5])
