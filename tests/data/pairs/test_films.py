"""Films with words beside them: which words belong to a clip, what is left out, two moments in their order."""

from dataclasses import replace

import numpy as np
import pytest

from mlxworld.data.pairs.films import Films, opened, said
from mlxworld.data.pairs.transcripts import read_transcript
from mlxworld.errors import MlxworldError
from mlxworld.text.rows import texts
from tests.translators import CONFIG, film


def films(folder, config=CONFIG):
    store = opened(config, folder, None, None)
    return Films(replace(config, fps=float(store.info.fps), sample_rate=store.info.sample_rate), store, folder)


LINES = [(0.0, 0.5, "first"), (1.0, 1.5, "second")]


def test_a_clip_has_the_words_the_sound_and_the_frames_of_its_time(tmp_path):
    film(tmp_path / "a.mp4", 16, LINES)
    data = films(tmp_path)
    assert data.modalities == ("text", "audio", "image", "video") and data.notes == ()
    batch = data.batch(np.random.default_rng(0), 12)
    assert {m: x.shape[1:] for m, x in batch.items()} == {
        **{"text": (16,), "audio": (16, 16), "image": (16, 16, 3), "video": (4, 16, 16, 3)}
    }
    starts = [round((int(v[0].mean()) - 40) / 8) for v in batch["video"]]
    assert len(set(starts)) > 1
    for start, text, picture, video in zip(
        starts, texts(batch["text"], data.tokenizer), batch["image"], batch["video"], strict=True
    ):
        assert text == said(tuple(LINES), start / 8, 0.5) and (picture == video[0]).all()
        assert ("first" in text) == (start <= 2) and ("second" in text) == (6 <= start <= 10)
    assert batch["audio"].max() > 0.5, "the tone is heard"
    again = films(tmp_path).batch(np.random.default_rng(0), 12)
    assert all(batch[m].tobytes() == again[m].tobytes() for m in batch)


def test_two_moments_of_one_film_stand_in_their_order_and_do_not_overlap(tmp_path):
    film(tmp_path / "a.mp4", 16, LINES)
    film(tmp_path / "b.mp4", 6, "too short for two")
    data = films(tmp_path)
    batch = data.batch(np.random.default_rng(1), 8, clips=2)
    first, second = batch["time"][::2], batch["time"][1::2]
    assert (second - first >= 0.5).all() and len(set(first.tolist())) > 1
    grey = batch["video"][:, 0].mean((1, 2, 3))
    assert np.abs(grey - (40 + 8 * 8 * batch["time"])).max() <= 2, "the time is that of the frames"


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path):
    film(tmp_path / "good.mp4", 8, "a grey room")
    film(tmp_path / "silent.mp4", 8, "a grey room", loud=False)
    film(tmp_path / "wordless.mp4", 8)
    film(tmp_path / "empty.mp4", 8, "")
    film(tmp_path / "short.mp4", 2, "a grey room")
    film(tmp_path / "odd.mp4", 8, "x")
    (tmp_path / "odd.srt").write_text("no times in here\n")
    (tmp_path / "empty.srt").write_text("\n\n")
    (tmp_path / "broken.mp4").write_bytes(b"not a film")
    data = films(tmp_path)
    assert [f.name for f in data.films] == ["good.mp4"]
    notes = "\n".join(data.notes)
    assert "1 films have no sound: 'silent.mp4'" in notes and "1 films are shorter than a clip" in notes
    assert "3 films have no words beside them" in notes and "1 films have a transcript that says nothing" in notes
    assert "1 transcripts cannot be read" in notes and "no times in" in notes


def test_without_any_words_or_sound_the_rest_is_learnt_from(tmp_path):
    film(tmp_path / "a.mp4", 8, loud=False)
    data = films(tmp_path)
    assert data.modalities == ("image", "video") and set(data.batch(np.random.default_rng(0), 2)) == {"image", "video"}
    assert any("no film has words" in n for n in data.notes) and any("no film has sound" in n for n in data.notes)


def test_a_folder_of_nothing_that_fits_is_one_line(tmp_path):
    film(tmp_path / "a.mp4", 2, "short")
    with pytest.raises(MlxworldError, match="no film can be used: 1 films are shorter"):
        films(tmp_path)


def test_lines_out_of_order_are_sorted_and_said_so_and_may_overlap(tmp_path):
    block = "{}\n00:00:0{},000 --> 00:00:0{},500\n{}\n"
    (tmp_path / "a.srt").write_text("\n".join([block.format(1, 1, 1, "b"), block.format(2, 0, 1, "a")]))
    assert read_transcript(tmp_path / "a.srt") == ([(0.0, 1.5, "a"), (1.0, 1.5, "b")], False)
    (tmp_path / "a.srt").write_text("")
    assert read_transcript(tmp_path / "a.srt") == ([], True)
    film(tmp_path / "a.mp4", 16)
    (tmp_path / "a.srt").write_text("\n".join([block.format(1, 1, 1, "b"), block.format(2, 0, 1, "a")]))
    data = films(tmp_path)
    assert data.notes == ("1 transcripts are not in order, and were sorted: 'a.mp4'",)
    assert said(data.films[0].lines, 1.0, 0.5) == "a b"
