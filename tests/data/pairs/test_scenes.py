"""Told scenes: words, sounds and pictures agree; combinations are held out; transcripts come back."""

import numpy as np
import pytest

from mlxworld.data.envs import scenes
from mlxworld.data.pairs.batches import Batches
from mlxworld.data.pairs.scenes import HELD_OUT, ToldScenes, held_out
from mlxworld.data.pairs.transcripts import read_transcript, write_transcript
from mlxworld.errors import MlxworldError
from mlxworld.text.bytes import Bytes
from mlxworld.text.rows import rows
from tests.translators import SCENES


def test_what_is_told_is_seen():
    for seed in range(40):
        scene = scenes.make_scene(seed)
        first = scenes.draw([scene])[0, 0].astype(int)
        for thing in scene.things:
            x, y = thing.path[0].astype(int)
            hidden = any(
                other is not thing and np.abs(other.path[0] - thing.path[0]).max() < 17 for other in scene.things
            )
            if not hidden:
                assert np.abs(first[y, x] - list(scenes.COLOURS.values())[thing.colour]).max() <= 1
            assert (x > 32) == thing.place % 2 and (y > 32) == thing.place // 2
            assert scenes.PLACES[thing.place] in scenes.tell(scene)


def test_a_thing_is_drawn_whole_wherever_it_is():
    """Each pixel by the distance from the thing's middle, over the whole picture: nothing lies outside its square."""
    pixel = np.arange(scenes.SIZE, dtype=np.float32) + 0.5
    for shape, far in enumerate((np.hypot, lambda x, y: np.maximum(x, y) * 1.12, lambda x, y: (x + y) * 0.78)):
        scene = next(s for s in map(scenes.make_scene, range(400)) if s.hits and [t.shape for t in s.things] == [shape])
        thing = scene.things[0]
        dx, dy = (np.abs(pixel - middle[:, None]) for middle in thing.path.astype(np.float32).T)
        cover = np.clip(scenes.RADIUS - far(dx[:, None], dy[:, :, None]) + 0.5, 0, 1)[..., None]
        back, colour = (np.array(c, np.float32) for c in (scenes.BACK, list(scenes.COLOURS.values())[thing.colour]))
        np.testing.assert_array_equal(scenes.draw([scene])[0], (back + cover * (colour - back) + 0.5).astype(np.uint8))


def test_every_impact_is_heard_when_it_happens():
    for seed in range(40):
        scene = scenes.make_scene(seed)
        wave = np.abs(scenes.sound(scene).reshape(-1))
        for hit in scene.hits:
            first = int(hit * scenes.RATE)
            assert wave[first : first + 200].max() > 0.3
        if not scene.hits:
            assert wave.max() == 0
        turns = sum((np.diff(np.sign(np.diff(t.path, axis=0)), axis=0) != 0).sum() for t in scene.things)
        assert turns <= len(scene.hits), "a path turns nowhere but at a wall"


def test_held_out_combinations_are_never_learnt_but_each_two_of_them_are():
    learnt = [t for seed in range(600) for t in scenes.make_scene(seed).things]
    assert not any(t.held_out for t in learnt)
    assert all(scene.held_out for scene in held_out(20, True))
    for a, b, n in (("colour", "shape", 18), ("colour", "place", 24), ("shape", "place", 12)):
        assert len({(getattr(t, a), getattr(t, b)) for t in learnt}) == n


def test_a_batch_is_a_function_of_its_number():
    data = ToldScenes(SCENES)
    batches = Batches(data, 2, seed=3, start=5)
    first = next(batches)
    batches.close()
    again = Batches(data, 2, seed=3).batch(5)
    assert all(first[name].tobytes() == again[name].tobytes() for name in first)
    assert first["video"].shape == (2, 16, 64, 64, 3) and first["audio"].shape == (2, 64, 64)
    assert first["text"].tobytes() != Batches(data, 2, seed=3).batch(6)["text"].tobytes()
    assert HELD_OUT > 2**40 + 2**40 - 1, "seeds that are learnt from end before it"


def test_a_transcript_comes_back(tmp_path):
    lines = scenes.transcript(scenes.make_scene(1))
    write_transcript(tmp_path / "a.srt", lines)
    back, in_order = read_transcript(tmp_path / "a.srt")
    assert in_order
    assert [text for _, _, text in back] == [text for _, _, text in sorted(lines, key=lambda line: line[0])]
    assert max(abs(a[0] - b[0]) for a, b in zip(back, sorted(lines, key=lambda x: x[0]), strict=True)) <= 0.0005


@pytest.mark.parametrize("text", ["hello\n", "1\n00:00:02,000 --> 00:00:01,000\nx\n", "\xff", "\x1b[2J hello"])
def test_what_is_no_transcript_is_one_line(tmp_path, text):
    (tmp_path / "a.srt").write_bytes(text.encode("latin-1"))
    with pytest.raises(MlxworldError, match=r"a\.srt"):
        read_transcript(tmp_path / "a.srt")


def test_bytes_come_back():
    text = "a red ball, \u00e9\u4e16"
    ids = Bytes().encode(text, special=True)
    assert Bytes().decode([*ids, 77]) == text and max(ids) < 259 and ids[-1] == 2
    assert rows(["ab", "c"], 4).tolist() == [[100, 101, 2, 0], [102, 2, 0, 0]]
