"""`mlxworld evaluate --model-mode`: files in and out, figures with their controls, flags that do not go together."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mlxworld import ask, is_translator
from mlxworld.configs.omnilatent import MODALITIES
from mlxworld.data.pairs import media
from mlxworld.errors import MlxworldError
from mlxworld.evaluate import __main__ as verb
from mlxworld.evaluate import modes
from mlxworld.evaluate.latents import alignment, effective_rank
from mlxworld.play.translator import Translator
from tests.translators import CONFIG, film, run_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("runs") / "run", steps=5)


def asked(run, mode, *more):
    verb.main(["--world", str(run), "--model-mode", mode, "--backend", "torch", *map(str, more)])


def test_any_file_in_any_out(run, tmp_path):
    Image.new("RGB", (30, 20), (200, 0, 0)).save(tmp_path / "p.png")
    (tmp_path / "s.wav").write_bytes(media.wav(np.sin(np.arange(20000) / 9).astype(np.float32), 8000))
    film(tmp_path / "v.mp4", 6)
    (tmp_path / "t.txt").write_text("a red\nball\n")
    given = [str(tmp_path / name) for name in ("p.png", "s.wav", "v.mp4", "t.txt")] + ["a blue ball"]
    asked(run, "file", "--input", *given, "--out", tmp_path / "out")
    names = [f"{i}-{n}" for i, n in enumerate(("p", "s", "v", "t", "text5"), 1)]
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {n + s for n in names for s in (".txt", ".png", ".wav", ".mp4")}
    translator = Translator.load(run, "torch")
    for i, name in enumerate(given):
        source, data = translator.read(name)
        assert source == ("image", "audio", "video", "text", "text")[i]
        picture = np.asarray(Image.open(tmp_path / f"out/{names[i]}.png")) / 255
        assert np.abs(picture - translator.translate(source, data, "image")[0]).max() <= 0.5 / 255 + 1e-6
    sound, seconds = media.read_sound(tmp_path / f"out/{names[0]}.wav", 16384), translator.config.seconds
    assert len(sound) == seconds * 16384
    kind, video = translator.read(str(tmp_path / f"out/{names[0]}.mp4"))
    assert kind == "video" and video.shape == (1, 16, 64, 64, 3)


def test_what_is_read_is_what_is_there(run, tmp_path):
    translator = Translator.load(run, "torch")
    film(tmp_path / "v.mp4", 6)
    (_, video) = translator.read(str(tmp_path / "v.mp4"))
    greys = (255 * video[0].mean((1, 2, 3)) - 40) / 8
    assert np.abs(greys - [*range(6), *[5] * 10]).max() < 0.3, "its frames, the last one held"
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000).astype(np.float32)
    (tmp_path / "s.wav").write_bytes(media.wav(0.5 * tone, 8000))
    (_, mel) = translator.read(str(tmp_path / "s.wav"))
    assert mel.shape == (1, 64, 64) and mel[0, :30].max() > 0.5 and (mel[0, 40:] == -1).all(), "1 s of 2"
    assert translator.texts(translator.read("a red ball")[1]) == ["a red ball"]
    made = {m: translator.translate("audio", mel, m) for m in ("audio", "image", "video")}
    assert made["audio"].min() < 0 <= made["image"].min(), "silence lies below 0, black at 0"
    assert max(made[m].max() for m in ("image", "video")) <= 1


def test_figures_stand_beside_controls(run, tmp_path, capsys):
    asked(run, "all", "--items", 4, "--out", tmp_path)
    out, made = capsys.readouterr().out, json.loads((tmp_path / "figures.json").read_text())
    assert set(made["reconstruct"]) == {f"{m} -> {m}" for m in MODALITIES} and len(made["translate"]) == 12
    assert set(made["told"]) == {"seen", "new"} and len(made["latent"]) == 6 and len(made["effective rank"]) == 4
    assert "| image -> text | words right |" in out and "trained for 5 steps" in out and "| mean |" in out
    assert all(set(row) == {"figure", "model", "shuffled", "mean"} for row in made["translate"].values())


def test_figures_of_a_folder_of_films(tmp_path, capsys):
    folder = run_folder(tmp_path / "run", config=CONFIG)
    film(tmp_path / "films/a.mp4", 12, "a grey room that grows bright")
    asked(folder, "reconstruct", "--data", tmp_path / "films", "--items", 3)
    assert "text -> text" in (out := capsys.readouterr().out) and f"on 3 of {tmp_path / 'films'}" in out
    other = run_folder(tmp_path / "other", config=replace(CONFIG, sample_rate=16384))
    with pytest.raises(MlxworldError, match="sounds at 8192 samples a second, but the model hears 16384"):
        asked(other, "reconstruct", "--data", tmp_path / "films")


class Perfect:
    """Gives back the target of the source's row: what a perfect model would."""

    def __init__(self, batch):
        self.batch = batch

    def translate(self, source, data, target):
        rows = [int(np.abs(self.batch[source] - x).reshape(len(self.batch[source]), -1).sum(1).argmin()) for x in data]
        return self.batch[target][rows]

    def texts(self, ids):
        return [" ".join(map(str, row)) for row in ids]


def test_a_perfect_model_scores_best_and_shuffled_ones_do_not():
    r = np.random.default_rng(0)
    batch = {"text": r.integers(3, 99, (6, 9)), "image": r.random((6, 4, 4, 3)), "audio": r.uniform(-1, 1, (6, 5, 4))}
    perfect: Translator = Perfect(batch)  # type: ignore[assignment]
    words = modes.scored(perfect, batch, "image", "text")
    assert words["model"] == 1 and words["shuffled"] < 0.5 and words["mean"] < 0.5
    sound = modes.scored(perfect, batch, "text", "audio")
    assert sound["model"] == 0 and sound["shuffled"] > sound["mean"] > 5, "40 dB a unit"
    picture = modes.scored(perfect, batch, "text", "image")
    assert picture["model"] == pytest.approx(100) and picture["shuffled"] < picture["mean"] < 20


def test_words_right_and_latents_are_their_definitions():
    assert modes.words_right(["a red ball", "x", ""], ["a ball red", "y", ""]) == pytest.approx(2 / 3)
    assert modes.words_right(["a a b"], ["a b b"]) == pytest.approx(2 / 3), "as often as they stand there"
    x = np.random.default_rng(0).normal(size=(50, 8))
    same = np.ones((9, 5), np.float32) * 0.3
    assert effective_rank(same) == effective_rank(same + 1e-8 * np.arange(9, dtype=np.float32)[:, None]) == 0
    assert effective_rank(np.outer(np.arange(9.0), np.ones(5))) == pytest.approx(1)
    assert 7.5 < effective_rank(x) <= 8
    near = alignment({"a": x, "b": x + 0.01, "c": np.roll(x, 1, 0)})
    assert near["a - b"]["recall at 1"] == 1 and near["a - b"]["nearer than others"] > 0.9
    assert near["a - c"]["recall at 1"] < 0.2 and near["a - c"]["chance"] == 0.02


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["file"], "needs --input"),
        (["latent", "--input", "x"], "--input is of --model-mode file or all"),
        (["all", "--to", "text"], "--to says what is made"),
        (["file", "--input", "x", "--data", "scenes", "--to", "text"], "not --data"),
        (["file", "--input", "x"], "give --out"),
        (["file", "--input", "absent.png", "--to", "text"], "absent.png: no such file"),
        (["file", "--input", __file__, "--to", "text"], "neither picture, sound, film nor .txt"),
        (["latent", "--items", "1"], "--items lies between"),
        (["temporal", "--clips", "1"], "--clips lies between"),
        (["temporal"], "was taught nothing of time: train it with a temporal phase"),
        (["latent", "--data", "synthetic"], "says nothing of a model"),
        (["latent", "--data", "nowhere"], "no data at nowhere"),
    ],
)
def test_flags_that_do_not_go_together_are_one_line(run, flags, line):
    with pytest.raises(MlxworldError, match=line):
        asked(run, *flags)


def test_broken_files_are_one_line(run, tmp_path):
    for name in ("a.png", "a.wav", "a.mp4"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(MlxworldError, match=name):
            asked(run, "file", "--input", tmp_path / name, "--to", "text")
    film(tmp_path / "silent.mp4", 4, loud=False)
    with pytest.raises(MlxworldError, match="has no sound"):
        media.read_sound(tmp_path / "silent.mp4", 8000)


def test_worlds_and_these_models_are_told_apart(run, tmp_path):
    assert is_translator(run) and not is_translator("pong") and not is_translator(tmp_path)
    with pytest.raises(MlxworldError, match="give --model-mode"):
        verb.main(["--world", str(run), "--data", str(tmp_path)])
    with pytest.raises(MlxworldError, match="does not read and write text and pictures"):
        asked("pong", "latent")


def test_asking_about_a_picture_prints_its_words(run, tmp_path, capsys):
    Image.new("RGB", (64, 64), (200, 0, 0)).save(tmp_path / "p.png")
    ask.main(["--model", str(run), "--image", str(tmp_path / "p.png"), "--backend", "torch"])
    translator = Translator.load(run, "torch")
    words = translator(translator.look((tmp_path / "p.png").read_bytes()), "text")
    assert modes.printable(words).strip() == capsys.readouterr().out.strip()
    for flags in (["What?", "--image", str(tmp_path / "p.png")], []):
        with pytest.raises(MlxworldError, match="give --image or --video, and no question"):
            ask.main(["--model", str(run), *flags])


def test_an_untrained_one_says_so(tmp_path, capsys):
    folder = run_folder(tmp_path / "fresh")
    asked(folder, "file", "--input", "a", "--to", "text")
    assert "is untrained: what it makes is noise" in capsys.readouterr().err
