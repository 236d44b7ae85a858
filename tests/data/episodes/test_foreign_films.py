"""Films of anybody's: trimmed, joined, cut off, turned, of wide pixels, with covers, odd stamps or no usable sound."""

import itertools
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from mlxworld.data import open_frames, read_clip
from mlxworld.errors import MlxworldError
from tests.data.episodes.films import (
    beeps,
    camera_film,
    loudness,
    moving,
    numbered,
    numbers,
    remuxed,
    stamped_film,
    turned,
    writing,
)

FPS, S = 30, 1024


def read(path, size=None):
    return read_clip(path, size, FPS, S)


def clicks(T, every, rate=44100):
    """Sound of T frames with a click of 5 ms in each `every`-th packet of 1,024 samples."""
    line = np.zeros(T * rate // FPS // 1024 * 1024, np.float32)
    for start in range(0, len(line), every * 1024):
        line[start : start + rate // 200] = 0.9
    return line


def onsets(sound):
    """Seconds at which a click begins."""
    line = np.abs(sound.reshape(-1)) > 0.3
    starts = np.flatnonzero(line & ~np.concatenate([[False], line[:-1]])) / (FPS * S)
    return starts[np.concatenate([[True], np.diff(starts) > 0.05])]


# -- what is there ----------------------------------------------------------------------------------------------------


def test_a_film_trimmed_without_encoding_is_what_is_shown_of_it(tmp_path):
    """An edit list hides frames that the header counts."""
    tone = 0.5 * np.sin(np.arange(4 * 44100) * 0.06)
    whole = camera_film(tmp_path / "whole.mp4", numbered(120), FPS, tone, 44100, "mono")
    trimmed = remuxed(whole, tmp_path / "trimmed.mp4", lambda kind, seconds: seconds - 2.5)
    with av.open(str(trimmed)) as file:
        assert file.streams.video[0].frames > 100, "the header counts what is hidden"
    video, audio = read(trimmed)
    assert numbers(video).tolist() == [*range(15, 60)] and loudness(audio).min() > 0.2


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.webm", "a.mp4"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.85])
def test_a_film_that_is_cut_off_is_not_taken_for_a_short_one(tmp_path, name, kept):
    if name == "a.webm":
        codecs, more = ("libvpx", "libopus"), {}
    else:
        codecs, more = ("mpeg4", "mp3"), {"movflags": "+faststart"} if name == "a.mp4" else {}
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3)).astype(np.uint8)
    with writing(tmp_path / name, options=more) as file:
        stream, audio = file.add_stream(codecs[0], rate=FPS), file.add_stream(codecs[1], rate=48000, layout="mono")
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 96000), np.float32), "fltp", "mono")
        wave.sample_rate = 48000
        sounds = iter(audio.encode(wave) + audio.encode(None))
        for picture in noise:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            file.mux(list(itertools.islice(sounds, 2)))
        file.mux(stream.encode(None))
        file.mux(list(sounds))
    data = (tmp_path / name).read_bytes()
    assert len(read(tmp_path / name)[0]) in (60, 61)
    (tmp_path / name).write_bytes(data[: int(kept * len(data))])
    with pytest.raises(MlxworldError, match=r"truncated, ends after \d\.\d of 2\.\d s"):
        read(tmp_path / name)


def test_a_cover_is_no_film(tmp_path):
    """Neither one that says so, nor a single picture before the film."""
    for name in ("a.mp4", "a.mkv"):
        with writing(tmp_path / name) as file:
            cover = file.add_stream("mjpeg", rate=FPS)
            cover.height, cover.width, cover.pix_fmt = 48, 48, "yuvj420p"
            if name == "a.mp4":
                cover.disposition = Disposition.attached_pic
            stream = file.add_stream("libx264", rate=FPS, options={"crf": "4"})
            stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
            file.mux(cover.encode(av.VideoFrame.from_ndarray(np.full((48, 48, 3), 255, np.uint8), "rgb24")))
            file.mux(cover.encode(None))
            for picture in numbered(20):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            file.mux(stream.encode(None))
        assert numbers(read(tmp_path / name)[0]).tolist() == list(range(20)), name


# -- how it is shown --------------------------------------------------------------------------------------------------

RIGHT, LEFT, DOWN, UP = (1, 0), (-1, 0), (0, 1), (0, -1)  # where the file's right, or its down, is shown


@pytest.mark.parametrize(
    ("right", "down"),
    [(r, d) for r, d in itertools.product((RIGHT, LEFT, DOWN, UP), repeat=2) if r[0] * d[0] + r[1] * d[1] == 0],
)
def test_all_eight_orientations(tmp_path, right, down):
    video = np.zeros((4, 32, 48, 3), np.uint8)
    video[:, :16, :24], video[:, :16, 24:], video[:, 16:, :24] = 240, 160, 80  # the file's corners; the last is black
    path = turned(camera_film(tmp_path / "a.mp4", video, FPS), (*right, *down))
    seen = read(path)[0][2].mean(-1)
    assert seen.shape == ((32, 48) if right[0] else (48, 32))
    H, W = seen.shape
    centre = np.array([W, H]) / 2
    for x, y, level in ((-1, -1, 240), (1, -1, 160), (-1, 1, 80), (1, 1, 0)):
        across, up = centre + (x * np.array(right) + y * np.array(down)) * centre / 2
        assert abs(seen[int(up), int(across)] - level) < 12, (x, y)


@pytest.mark.parametrize(("ratio", "shape"), [(2, (100, 100)), (0.5, (100, 25)), (1e6, (100, 50))])
def test_pixels_that_are_not_square(tmp_path, ratio, shape):
    """A circle stays one; a ratio that cannot be is none."""
    y, x = np.mgrid[:100, :50]
    video = np.where(np.hypot(2 * x - 49, y - 49.5) < 40, 235, 16).astype(np.uint8)
    with writing(tmp_path / "a.mp4") as file:
        stream = file.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = 100, 50, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(ratio)
        for _ in range(3):
            picture = np.repeat(video[..., None], 3, axis=-1)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode(None))
    seen = read(tmp_path / "a.mp4")[0][1].mean(-1)
    assert seen.shape == shape
    if ratio == 2:
        for size in (None, (100, 100), (64, 64)):
            round_one = read(tmp_path / "a.mp4", size)[0][1].mean(-1) > 120
            wide, high = round_one.any(0).sum(), round_one.any(1).sum()
            assert abs(wide - high) <= 2 and abs(wide - 0.8 * len(round_one)) <= 3


# -- time stamps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [2.0, 600.0, 1e6])
def test_a_gap_in_the_stamps_begins_another_episode(tmp_path, gap, capsys):
    """Its sound goes with each; nothing is put between."""
    tone = 0.5 * np.sin(np.arange(2 * 44100) * 0.06)
    tone[44100:] *= 0.5
    whole = camera_film(tmp_path / "whole.mkv", numbered(60), FPS, tone, 44100, "mono")
    folder = tmp_path / "films"
    folder.mkdir()
    path = remuxed(whole, folder / "gap.mkv", lambda kind, seconds: seconds + gap * (seconds > 0.99))
    video, audio = read(path)
    assert numbers(video).tolist() == list(range(60))
    loud = loudness(audio)
    assert np.abs(loud[3:27] - 0.354).max() < 0.02 and np.abs(loud[35:57] - 0.177).max() < 0.02
    store = open_frames(folder, size=32, workers=1)
    assert np.diff(store.offsets).tolist() == [30, 30] and len(store.names) == 2
    assert "gap.mkv: its time stamps jump: it is 2 episodes" in capsys.readouterr().err


def test_a_still_picture_of_a_second_is_none(tmp_path):
    """Slides, and recordings of screens on which nothing moves."""
    video = numbered(4)
    with writing(tmp_path / "a.mkv") as file:
        stream = file.add_stream("libx264", rate=1)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for picture in video:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode(None))
    assert numbers(read(tmp_path / "a.mkv")[0]).tolist() == sorted([0, 1, 2, 3] * 30)


def test_joined_films_whose_clock_begins_anew_and_whose_sound_changes(tmp_path):
    pieces = []
    for rate, level in ((44100, 0.2), (48000, 0.6)):
        tone = level * np.sin(np.arange(rate) * 0.06)
        pieces.append(camera_film(tmp_path / f"{rate}.ts", numbered(30), FPS, tone, rate, "mono").read_bytes())
    (tmp_path / "joined.mpg").write_bytes(b"".join(pieces))
    video, audio = read(tmp_path / "joined.mpg")
    assert numbers(video).tolist() == [*range(30), *range(30)]
    loud = loudness(audio)
    assert np.abs(loud[4:26] - 0.141).max() < 0.02 and np.abs(loud[34:56] - 0.424).max() < 0.03


def test_sound_that_changes_its_rate_and_its_channels_in_one_stream(tmp_path):
    """FLAC may: each frame tells its own."""
    path = tmp_path / "a.mkv"
    with writing(path) as file:
        stream = file.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        audio = file.add_stream("mp2", rate=44100, layout="stereo")
        other: Any = av.CodecContext.create("mp2", "w")
        other.sample_rate, other.layout, other.format, other.time_base = 48000, "mono", "s16", Fraction(1, 48000)
        for picture in numbered(60):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode(None))
        for rate, layout, encoder, begin in ((44100, "stereo", audio.codec_context, 0.0), (48000, "mono", other, 1.0)):
            tone = (16000 * np.sin(np.arange(rate) * 0.06)).astype(np.int16)
            channels = 2 if layout == "stereo" else 1
            for i in range(0, rate, 1152):
                wave = av.AudioFrame.from_ndarray(np.repeat(tone[i : i + 1152], channels)[None], "s16", layout)
                wave.sample_rate, wave.pts = rate, None
                for packet in encoder.encode(wave):
                    packet.time_base, packet.stream = Fraction(1, 1000), audio
                    packet.pts = packet.dts = round((begin + i / rate) * 1000)
                    file.mux(packet)
    loud = loudness(read(path)[1])
    assert np.abs(loud[3:57] - 0.345).max() < 0.03


@pytest.mark.parametrize("begin", [1.75e9, 4e5, -4e5])
def test_sound_stamped_by_another_clock_is_left_out(tmp_path, begin, capsys):
    folder = tmp_path / "films"
    folder.mkdir()
    path = stamped_film(folder / "w.mkv", numbered(60), clicks(60, 5), lambda i: begin * 44100 + i * 1024)
    video, audio = read(path)
    assert len(video) == 60 and not audio.any()
    store = open_frames(folder, size=32, workers=1)
    told = capsys.readouterr().err
    assert store.silent == ("w.mkv",) and "w.mkv: its sound's time stamps lie outside its picture's" in told


@pytest.mark.parametrize("slow", [0.99, 0.999, 1.001, 1.01])
def test_sound_that_drifts_stays_beside_its_picture(tmp_path, slow):
    """Each packet strays by less than a millisecond; over a minute it is more than half a second."""
    T = 900
    line = clicks(T, 43)
    path = stamped_film(tmp_path / "a.mkv", numbered(T), line, lambda i: i * 1024 * slow)
    heard = onsets(read(path)[1])
    want = np.arange(0, len(line), 43 * 1024) / 44100 * slow
    want = want[want < T / FPS - 0.1]
    assert len(heard) >= len(want) and np.abs(heard[: len(want)] - want).max() < 0.025


def test_sound_stamped_unsteadily_is_not_bent(tmp_path):
    """Stamps of whole milliseconds, as most containers keep them: the tone is the tone."""
    tone = 0.5 * np.sin(np.arange(4 * 44100) * 2 * np.pi * 441 / 44100)
    rng = np.random.default_rng(0)
    path = stamped_film(tmp_path / "a.mkv", numbered(120), tone, lambda i: i * 1024 + rng.integers(-300, 300))
    heard = read(path)[1].reshape(-1)[: FPS * S * 3]
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert spectrum.argmax() * FPS * S / len(heard) == pytest.approx(441, abs=0.5)
    near = spectrum[spectrum.argmax() - 5 : spectrum.argmax() + 6]
    assert np.square(near).sum() > 0.999 * np.square(spectrum).sum()


# -- sound that is not there ------------------------------------------------------------------------------------------


def test_a_track_that_cannot_be_decoded_costs_the_sound_only(tmp_path, capsys):
    folder = tmp_path / "films"
    folder.mkdir()
    tone = 0.5 * np.sin(np.arange(44100) * 0.06)
    path = camera_film(folder / "a.mkv", numbered(30), FPS, tone)
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    video, audio = read(path)
    assert numbers(video).tolist() == list(range(30)) and not audio.any()
    assert open_frames(folder, size=32, workers=1).silent == ("a.mkv",)
    assert "a.mkv: its sound cannot be decoded" in capsys.readouterr().err


def test_the_next_track_is_taken(tmp_path):
    path = tmp_path / "a.mkv"
    with writing(path) as file:
        stream = file.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        tracks = [file.add_stream(name, rate=48000, layout="mono") for name in ("aac", "libopus")]
        for picture in moving(30, (32, 32)):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode(None))
        for track in tracks:
            form = track.codec_context.format.name
            tone = 0.5 * np.sin(np.arange(48000) * 0.06)[None]
            tone = tone.astype(np.float32) if form.startswith("flt") else (tone * 32767).astype(np.int16)
            wave = av.AudioFrame.from_ndarray(tone, form, "mono")
            wave.sample_rate = 48000
            file.mux(track.encode(wave))
            file.mux(track.encode(None))
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    assert loudness(read(path)[1])[2:28].min() > 0.3


def test_beeps_stay_bit_for_bit_where_nothing_is_odd(tmp_path):
    """What is written by the recorder passes all of this untouched."""
    from mlxworld.data import write_clip

    write_clip(tmp_path / "a.mp4", moving(90), beeps(90, S), FPS, FPS * S)
    assert np.abs(read(tmp_path / "a.mp4")[1] - beeps(90, S)).max() <= 0.5 / 32768
