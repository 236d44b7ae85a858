"""Clips as MP4 files: what is written comes back, anybody's film is cut into steps with its sound in place."""

import subprocess
import sys

import numpy as np
import pytest

from mlxworld.data import ClipWriter, read_clip, write_clip
from mlxworld.errors import MlxworldError
from tests.data.episodes.films import beeps, camera_film, loudness, moving, numbered, numbers

FPS, S, RATE = 30, 1024, 30720


def read(path, size=None, fps=FPS, samples=S):
    return read_clip(path, size, fps, samples)


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_what_is_written_comes_back(tmp_path, size):
    video, audio = moving(50, size), beeps(50, S)
    write_clip(tmp_path / "a.mp4", video, audio, FPS, RATE)
    seen, heard = read(tmp_path / "a.mp4")
    assert seen.shape == video.shape and seen.dtype == np.uint8
    assert np.abs(seen.astype(int) - video).max() <= 8
    assert heard.dtype == np.float32 and np.abs(heard - audio).max() <= 0.5 / 32768  # exact, to the rounding to 16 bits
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_dooms_rates(tmp_path):
    video, audio = moving(40), beeps(40, 630)
    write_clip(tmp_path / "a.mp4", video, audio, 35, 22050)
    seen, heard = read(tmp_path / "a.mp4", None, 35, 630)
    assert len(seen) == 40 and np.abs(heard - audio).max() <= 0.5 / 32768


def correlation(a, b, lag):
    a, b = (a[lag:], b[: len(b) - lag]) if lag >= 0 else (a[:lag], b[-lag:])
    return np.corrcoef(a, b)[0, 1]


@pytest.mark.parametrize(("rate", "layout"), [(44100, "stereo"), (48000, "mono"), (48000, "5.1")])
def test_sound_of_a_camera_stays_in_place(tmp_path, rate, layout):
    T = 120
    raw = beeps(T, RATE // FPS, seed=3).reshape(-1)
    line = np.interp(np.arange(T / FPS * rate) / rate, np.arange(len(raw)) / RATE, raw)
    _, heard = read(camera_film(tmp_path / "a.mp4", moving(T), FPS, line, rate, layout))
    assert heard.shape == (T, S)
    want, got = loudness(raw.reshape(T, S), 4), loudness(heard, 4)
    at = {lag: correlation(got, want, lag) for lag in range(-3, 4)}
    assert max(at, key=lambda lag: at[lag]) == 0 and at[0] > 0.99, at


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_sound_that_begins_later_than_the_picture(tmp_path, name):
    tone = 0.5 * np.sin(np.arange(48000) * 0.1)
    _, heard = read(camera_film(tmp_path / name, moving(60), FPS, tone, 48000, "mono", late=0.5))
    loud = loudness(heard)
    assert loud[:14].max() < 0.01 and loud[16:44].min() > 0.3 and loud[46:].max() < 0.01


@pytest.mark.parametrize(
    ("fps", "frames", "shown"),
    [(30, 30, range(30)), (60, 60, range(1, 60, 2)), (15, 15, np.arange(30) // 2), (29.97, 30, range(30))],
)
def test_pictures_are_taken_by_their_time(tmp_path, fps, frames, shown):
    seen, _ = read(camera_film(tmp_path / "a.mp4", numbered(frames), fps))
    assert numbers(seen).tolist() == list(shown)


def test_a_film_of_another_shape_is_cut_in_the_middle_and_averaged(tmp_path):
    video = np.zeros((8, 64, 128, 3), np.uint8)
    video[:, :, :32], video[:, :, 96:] = (255, 0, 0), (0, 0, 255)  # both sides fall away
    video[:, ::2, 32:96] = 200  # lines that averaging makes grey
    seen, _ = read(camera_film(tmp_path / "a.mp4", video, FPS), (32, 32))
    assert seen.shape == (8, 32, 32, 3)
    assert np.abs(seen[:, :, 2:-2].astype(int) - 100).max() < 10


def test_a_recording_at_half_its_size(tmp_path):
    video = moving(8, (64, 64))
    write_clip(tmp_path / "a.mp4", video, beeps(8, S), FPS, RATE)
    seen, _ = read(tmp_path / "a.mp4", (32, 32))
    mean = video.reshape(8, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(seen - mean).max() <= 6


def broken(path):
    with pytest.raises(MlxworldError) as caught:
        read(path)
    line = str(caught.value)
    assert path.name in line and "\n" not in line
    return line


def test_files_that_are_no_films(tmp_path):
    good = tmp_path / "good.mp4"
    write_clip(good, moving(60, seed=1), beeps(60, S), FPS, RATE)
    data = good.read_bytes()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a film\n" * 100)
    (tmp_path / "headless.mp4").write_bytes(data[len(data) // 2 :])
    assert "empty" in broken(tmp_path / "empty.mp4")
    assert "no such file" in broken(tmp_path / "absent.mp4")
    for name in ("text.mp4", "headless.mp4"):
        broken(tmp_path / name)


def test_a_truncated_film_is_not_taken_for_a_short_one(tmp_path):
    write_clip(tmp_path / "a.mp4", moving(300, (64, 64), seed=1), beeps(300, S), FPS, RATE)
    data = (tmp_path / "a.mp4").read_bytes()
    for kept in np.arange(0.1, 0.9, 0.05):
        (tmp_path / "cut.mp4").write_bytes(data[: int(kept * len(data))])
        assert "truncated" in broken(tmp_path / "cut.mp4")


def test_a_film_without_pictures(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        audio = file.add_stream("aac", rate=48000, layout="mono")
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), "fltp", "mono")
        wave.sample_rate = 48000
        file.mux(audio.encode(wave))
        file.mux(audio.encode(None))
    assert "no picture" in broken(tmp_path / "a.mp4")


def test_a_film_without_sound_is_silent(tmp_path):
    _, heard = read(camera_film(tmp_path / "a.mp4", moving(30), FPS))
    assert heard.shape == (30, S) and not heard.any()


def test_an_interrupted_clip_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), ClipWriter(tmp_path / "a.mp4", FPS, RATE) as clip:
        clip.add(moving(1)[0], beeps(1, S)[0])
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with pytest.raises(MlxworldError, match="no frames"):
        write_clip(tmp_path / "a.mp4", moving(0), np.zeros((0, S), np.float32), FPS, RATE)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    code = f"""
import resource, numpy as np
from mlxworld.data import write_clip
from mlxworld.errors import MlxworldError
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3)).astype(np.uint8)
try:
    write_clip(r"{tmp_path}/a.mp4", noise, np.zeros((30, 1024), np.float32), 30, 30720)
except MlxworldError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "a.mp4: cannot be written" in done.stdout, done
    assert not list(tmp_path.iterdir())
