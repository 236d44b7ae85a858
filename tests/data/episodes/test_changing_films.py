"""Films whose clock begins late or runs backwards, whose pictures change in size, whose sound has broken packets."""

from fractions import Fraction

import av
import numpy as np
import pytest

from mlxworld.configs.world import WorldConfig
from mlxworld.data import open_frames, read_clip
from mlxworld.data.episodes.pictures import read_frames
from mlxworld.errors import MlxworldError
from tests.data.episodes.films import camera_film, loudness, numbered, numbers, remuxed, writing

FPS, S = 30, 1024
TONE = 0.5 * np.sin(np.arange(2 * 44100) * 0.06)


def film(path, T=60, size=(32, 32)):
    """A tone beside numbered pictures."""
    return camera_film(path, numbered(T, size), FPS, TONE[: T * 1470], 44100, "mono")


# -- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mkv", "a.flv", "a.mov", "a.mp4", "a.wmv", "a.ts"])
@pytest.mark.parametrize("late", [3.0, 3600.0])
def test_a_film_whose_clock_begins_late_is_whole(tmp_path, name, late):
    """Some headers count from 0, some from the first picture."""
    path = remuxed(film(tmp_path / "whole.mp4"), tmp_path / name, lambda kind, seconds: seconds + late)
    video, audio = read_clip(path, None, FPS, S)
    assert numbers(video).tolist() == list(range(60)) and loudness(audio)[2:58].min() > 0.3


def test_a_late_film_that_is_cut_off_is_told(tmp_path):
    path = remuxed(film(tmp_path / "whole.mp4"), tmp_path / "a.mkv", lambda kind, seconds: seconds + 3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(MlxworldError, match=r"truncated, ends after 4\.\d of 5\.0 s"):
        read_clip(path, None, FPS, S)


def test_a_raw_stream_is_not_measured_by_its_bit_rate(tmp_path):
    """It has no header that tells a length; what a reader guesses of it is no proof."""
    with writing(tmp_path / "a.mpg", format="mpeg2video") as file:
        stream = file.add_stream("mpeg2video", rate=FPS)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = 32, 32, "yuv420p", 8_000
        for picture in numbered(60):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode(None))
    assert len(read_clip(tmp_path / "a.mpg", None, FPS, S)[0]) == 60


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov", "a.ts"])
@pytest.mark.parametrize(("first", "gap"), [(30, 600.0), (30, 3.0), (1, 600.0), (59, 600.0)])
def test_the_picture_before_a_jump_stands_no_longer_than_others(tmp_path, name, first, gap):
    """Some files hold the jump as that picture's length, and a mean rate that is none."""
    path = tmp_path / name
    with writing(path) as file:
        stream = file.add_stream("libx264", rate=FPS, options={"crf": "4", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for t, picture in enumerate(numbered(60)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = t + int(gap * FPS) * (t >= first), Fraction(1, FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    steps = list(read_frames(path, None, FPS))
    assert [sum(step.part == part for step in steps) for part in (0, 1)] == [first, 60 - first]
    assert numbers(np.stack([step.picture for step in steps])).tolist() == list(range(60))


def test_small_steps_backwards_that_add_up_begin_anew(tmp_path, capsys):
    """Each goes back by less than what begins an episode; none is lost without a word."""
    folder = tmp_path / "films"
    folder.mkdir()
    pieces = []
    for k in range(12):
        whole = camera_film(tmp_path / "piece.mp4", numbered(60)[3 * k : 3 * k + 3], FPS)
        piece = remuxed(whole, tmp_path / f"{k}.ts", lambda kind, seconds, k=k: seconds + 10 - 0.3 * k)
        pieces.append(piece.read_bytes())
    (folder / "a.ts").write_bytes(b"".join(pieces))
    seen = set(numbers(read_clip(folder / "a.ts", None, FPS, S)[0]))
    assert len({n // 3 for n in seen}) >= 6
    open_frames(folder, size=32, workers=1)
    assert "a.ts: its time stamps jump" in capsys.readouterr().err


def test_pictures_that_stand_long_are_told(tmp_path, capsys):
    folder = tmp_path / "slides"
    folder.mkdir()
    whole = camera_film(tmp_path / "whole.mp4", numbered(5), FPS)
    remuxed(whole, folder / "a.mp4", lambda kind, seconds: seconds * 100)
    steps = len(open_frames(folder, size=32, workers=1).video)
    assert 400 < steps < 550 and f"a.mp4: 5 pictures stand for {steps} steps" in capsys.readouterr().err


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_pictures_that_change_their_size_are_cut_to_the_first(tmp_path):
    parts = [film(tmp_path / f"{w}.ts", 30, (32, w)) for w in (48, 64, 32)]
    (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    video, _ = read_clip(tmp_path / "a.ts", None, FPS, S)
    assert video.shape == (90, 32, 48, 3) and np.abs(numbers(video) - [*range(30)] * 3).max() <= 1


def test_pixels_that_change_their_shape(tmp_path):
    """As broadcasts do between 4:3 and 16:9: what is cut to a square is the middle of what is shown."""
    video = np.full((30, 32, 64, 3), 16, np.uint8)
    video[:, :, 24:40] = 235
    pieces = []
    for k, ratio in enumerate((1, 2)):
        with writing(tmp_path / f"{k}.ts") as file:
            stream = file.add_stream("libx264", rate=FPS, options={"crf": "4"})
            stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
            stream.codec_context.sample_aspect_ratio = Fraction(ratio)
            for picture in video:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            file.mux(stream.encode(None))
        pieces.append((tmp_path / f"{k}.ts").read_bytes())
    (tmp_path / "a.ts").write_bytes(b"".join(pieces))
    bright = (read_clip(tmp_path / "a.ts", (32, 32), FPS, S)[0].mean(-1) > 120).mean((1, 2))
    assert np.abs(bright[3:27] - 0.5).max() < 0.05 and bright[33:57].min() > 0.95


def test_a_picture_that_is_only_a_line_is_refused_before_it_is_drawn_out(tmp_path):
    with writing(tmp_path / "a.mov") as file:
        stream = file.add_stream("png", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = 2, 16384, "rgb24"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((2, 16384, 3), np.uint8), "rgb24")))
        file.mux(stream.encode(None))
    with pytest.raises(MlxworldError, match=r"a\.mov: a picture of 16384x2 is too thin to be cut to 256x256"):
        read_clip(tmp_path / "a.mov", (256, 256), FPS, S)


# -- sound ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [{0}, {20}, {0, 20, 21, 22}])
def test_packets_of_sound_that_are_broken_cost_themselves(tmp_path, broken, capsys):
    """As where a broadcast's recording begins or a stream was cut."""
    folder = tmp_path / "films"
    folder.mkdir()
    with av.open(str(film(tmp_path / "whole.mp4"))) as old, writing(folder / "a.mkv") as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        heard = -1
        for packet in old.demux():
            if packet.size:
                heard += packet.stream.type == "audio"
                if packet.stream.type == "audio" and heard in broken:
                    other = av.Packet(b"\x55" * packet.size)
                    other.pts, other.dts, other.time_base = packet.pts, packet.dts, packet.time_base
                    packet, kept = other, packet
                else:
                    kept = packet
                packet.stream = streams[kept.stream_index]
                new.mux(packet)
    video, audio = read_clip(folder / "a.mkv", None, FPS, S)
    loud = loudness(audio)
    assert numbers(video).tolist() == list(range(60)) and (loud > 0.3).sum() >= 54 - 2 * len(broken)
    store = open_frames(folder, size=32, workers=1)
    assert store.silent == () and "packets of its sound cannot be decoded" in capsys.readouterr().err


# -- rates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fps", "samples"),
    [(-1, S), (0, S), (float("nan"), S), (float("inf"), S), (1e9, S), (30, -1), (30, 0), (500, 10**6)],
)
def test_rates_that_nothing_has(tmp_path, fps, samples):
    """Each would bound a loop or an array."""
    with pytest.raises(MlxworldError, match=r"a\.mp4: (fps|samples|fps times samples) must be"):
        read_clip(film(tmp_path / "a.mp4", 3), None, fps, samples)


def test_a_world_of_more_sound_than_there_is_is_none():
    with pytest.raises(MlxworldError, match="fps times samples must be at most"):
        WorldConfig("any", fps=500, samples=1 << 20)
