"""Training of what reads and writes any modality: phases by data, tokenizers kept in the run, resuming, bad input."""

import contextlib
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mlxworld import families, on, train
from mlxworld.configs.load import from_dict
from mlxworld.configs.omnilatent import Config
from mlxworld.data.pairs import noise
from mlxworld.data.pairs.scenes import ToldScenes
from mlxworld.errors import MlxworldError
from mlxworld.files import checkpoint
from mlxworld.play.translator import Translator
from mlxworld.text import pieces
from tests.translators import CONFIG, SCENES, film

MODEL = {"hidden-dim": 32, "num-layers": 1, "num-heads": 1, "vocab-size": 340, "max-text": 16, "bands": 16}
MODEL |= {"audio-frames": 16, "image-size": 16, "image-patch": 8, "video-size": 16, "video-patch": 8}
MODEL |= {"frames": 4, "tubelet": 2}
PHASES = ("reconstruct", "cross", "temporal", "grounding", "joint")
LINES = [(0.0, 0.5, "a grey room, dark"), (1.0, 1.5, "a grey room, it is bright now")]


def argv(data, out, *more) -> list[str]:
    flags = [f"--config.{name}={value}" for name, value in MODEL.items()] + [f"--{p}.batch=2" for p in PHASES]
    fixed = ["--model=omnilatent", "--backend=torch", "--log-steps=1", "--steps=8", "--optim.name=adamw", "--clips=2"]
    return [*fixed, f"--data={data}", f"--out={out}", *flags, *map(str, more)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("films")
    film(place / "a.mp4", 16, LINES)
    film(place / "b.mp4", 12, "a grey room that grows bright " * 20)
    return place


class Stopped(Exception):
    pass


def test_films_in_five_phases_stopped_and_resumed_with_pieces_of_their_own_words(folder, tmp_path, monkeypatch, capsys):
    flags = ("--tokenizer=sentencepiece", "--save-minutes=0")
    train.main(argv(folder, tmp_path / "whole", *flags))
    said = " ".join(capsys.readouterr().err.split())
    assert f"mlxworld evaluate --world {tmp_path / 'whole'} --model-mode file" in said

    saved, left = checkpoint.save, [4]

    def save(path, *args, **options):
        saved(path, *args, **options)
        left[0] -= path.name == "checkpoint.safetensors"
        if not left[0]:
            raise Stopped

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(Stopped):
        train.main(argv(folder, tmp_path / "killed", *flags))
    monkeypatch.setattr(checkpoint, "save", saved)
    monkeypatch.setattr(pieces, "teach", lambda *_: pytest.fail("a run that is resumed has its tokenizer"))
    train.main(argv(folder, tmp_path / "killed", *flags, "--resume"))
    a, b = (checkpoint.load(tmp_path / name / "model.safetensors")[0] for name in ("whole", "killed"))
    assert a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)

    about = json.loads((tmp_path / "whole/config.json").read_text())
    assert about["card"]["steps"] == {
        "reconstruct": 1,
        "cross": 2,
        "temporal": 2,
        "grounding": 1,
        "joint": 2,
        "memory": 0,
    }
    assert (about["model"]["fps"], about["model"]["sample_rate"], about["model"]["timeline"]) == (8.0, 8192, True)
    assert "timeline.order.weigh.weight" in a and (tmp_path / "whole/samples/final.png").exists()
    translator = Translator.load(tmp_path / "whole", "torch")
    assert isinstance(translator.tokenizer, pieces.WordPieces) and translator.steps == 8
    assert isinstance(translator("a grey room", "text"), str)
    with pytest.raises(MlxworldError, match=r"is done: choose another --out, or mlxworld play .* --model-mode file"):
        train.main(argv(folder, tmp_path / "whole", *flags, "--resume"))


def test_the_head_of_order_learns_in_its_phase_alone(folder, tmp_path):
    for name, fractions in (("with", (0, 0, 1, 0, 0)), ("without", (0, 1, 0, 0, 0))):
        train.main(argv(folder, tmp_path / name, "--steps=2", "--fractions", *fractions))
    weights = [checkpoint.load(tmp_path / name / "model.safetensors")[0] for name in ("with", "without")]
    assert "timeline.order.weigh.weight" in weights[0] and "timeline.order.weigh.weight" not in weights[1]
    package, config = on("torch"), from_dict(Config, json.loads((tmp_path / "with/config.json").read_text())["model"])
    fresh = families.model(package, "omnilatent")(config).init(package.random.key(0))
    before = package.engine.numpy(package.nn.parameters(fresh))["timeline.order.weigh.weight"]
    assert np.abs(before - weights[0]["timeline.order.weigh.weight"]).max() > 1e-4


def test_a_model_goes_on_with_its_tokenizer_from_words_of_pictures(folder, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, grey in (("dark.png", 20), ("bright.png", 230)):
        Image.new("RGB", (20, 20), (grey,) * 3).save(pictures / name)
    images = [{"id": i, "file_name": name} for i, name in enumerate(("dark.png", "bright.png"))]
    told = [{"image_id": i, "caption": c} for i, c in enumerate(("it is dark", "it is bright"))]
    (tmp_path / "c.json").write_text(json.dumps({"images": images, "annotations": told}))
    coco = (f"--image-dir={pictures}", f"--annotation-file={tmp_path / 'c.json'}")
    train.main(argv("coco", tmp_path / "one", *coco, "--tokenizer=sentencepiece"))
    about = json.loads((tmp_path / "one/config.json").read_text())
    done = {name: n for name, n in about["card"]["steps"].items() if n}
    assert done == {"reconstruct": 1, "joint": 7}, "15 and 85 %"
    assert (tmp_path / "one/samples/final.txt").read_text().startswith("it is ")
    more = ("--from", tmp_path / "one", "--fractions", 0.35, 0.35, 0.3)
    train.main(argv("coco", tmp_path / "two", *coco, *more))
    assert (tmp_path / "two" / pieces.FILE).read_bytes() == (tmp_path / "one" / pieces.FILE).read_bytes()


def test_noise_says_what_fits_and_how_fast(tmp_path):
    train.main(argv("synthetic", tmp_path / "run", "--steps=12", "--fractions", 0, 1))
    line = (tmp_path / "run/samples/final.txt").read_text()
    assert line.startswith("joint: ") and "rows/s of 16 pairs" in line and "GB" in line
    rate, tokens = (float(line.split(word)[0].split()[-1].replace(",", "")) for word in (" rows/s", " tokens/s"))
    per_row = (4 + 4) * (16 + 8 + 4 + 8)  # each modality is the source of 4 pairs and the target of 4
    assert tokens == pytest.approx(rate * per_row, rel=0.01)


def settings(data="scenes", **more):
    recipe = families.recipe("omnilatent")
    return replace(recipe.Settings(data=data, out="x", model="omnilatent", config=CONFIG), **more)


def test_fractions_are_the_phases():
    cfg = settings("folder", steps=1000)
    assert cfg.plan == dict(zip(PHASES, (0.1, 0.25, 0.25, 0.15, 0.25), strict=True))
    planned = {n: s.steps for n, s in cfg.planned().stages() if n in PHASES}
    assert planned == dict(zip(PHASES, (100, 250, 250, 150, 250), strict=True))
    assert settings("coco").plan == {"reconstruct": 0.15, "joint": 0.85}
    three = settings("coco", fractions=(0.35, 0.35, 0.3), steps=100).planned()
    assert {n: s.steps for n, s in three.stages() if s.steps} == {"reconstruct": 35, "cross": 35, "joint": 30}
    assert {n: s.share for n, s in three.stages() if s.steps} == pytest.approx(three.plan)
    given = settings("coco", cross=replace(three.cross, steps=7)).planned()
    assert given.cross.steps == 7, "steps that are given are taken"
    timed = settings("coco", minutes=5.0)
    timed.check()
    with pytest.raises(MlxworldError, match=r"--minutes plans the steps"):
        replace(timed, joint=replace(timed.joint, steps=7)).check()


def first_batches(data, config, fractions):
    """{phase: the names of its first batch, and of what is learnt of it} of a plan of 8 rows a batch."""
    package = on("torch")
    phases = {name: replace(phase, batch=8) for name, phase in settings().stages()}
    recipe = families.recipe("omnilatent")(
        replace(settings(fractions=fractions, clips=4, **phases), config=config), data
    )
    model = families.model(package, "omnilatent")(recipe.config).init(package.random.key(0))
    names = {}
    for stage in recipe.stages(SimpleNamespace(package=package)):  # type: ignore[arg-type]
        if stage.name in recipe.cfg.plan:
            with contextlib.closing(stage.batches[0](0)) as batches:
                batch = next(batches)
            _, parts = stage.turns[0].loss(model, package.engine.array(batch), None)
            names[stage.name] = set(batch), set(parts)
    return names


def test_what_is_learnt_of_time_goes_on_in_the_phases_after_it():
    names, time = first_batches(noise.Noise(CONFIG), CONFIG, (1, 1, 1, 1, 1)), {"order", "distance", "next", "boundary"}
    assert list(names) == list(PHASES)
    for phase, (batch, parts) in names.items():
        later = phase in ("grounding", "joint")
        assert ("film" in batch) == later and (time <= parts) == (later or phase == "temporal"), phase
    without = first_batches(noise.Noise(CONFIG), CONFIG, (1, 1, 1))
    assert not any("film" in batch or time & parts for batch, parts in without.values())


def test_days_of_told_scenes_are_learnt_from_without_words():
    names = first_batches(ToldScenes(SCENES), SCENES, (0, 0, 1, 1))
    assert "text" not in names["temporal"][0] and {"order", "audio", "image"} <= names["temporal"][1]
    assert {"text", "film"} <= names["joint"][0] and "order" in names["joint"][1]
    with pytest.raises(MlxworldError, match=r"with words of their own, as grounding needs: give 2, 3 or 4 --fractions"):
        first_batches(ToldScenes(SCENES), SCENES, (1, 1, 1, 1, 1))


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--fractions", "0.5"], "2, 3, 4 or 5 numbers"),
        (["--fractions", "0", "0"], "not all of them 0"),
        (["--fractions", "nan", "1"], "not all of them 0"),
        (["--fractions", "inf", "1"], "not all of them 0"),
        (["--contrast", "nan"], "--contrast must be a finite number"),
        (["--cross.frames", "8"], "--cross.frames is 4"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--data", "nowhere"], "no data at nowhere"),
        (["--data", "coco"], "needs --image-dir and --annotation-file"),
        (["--image-dir", "."], "are of --data coco"),
        (["--data", "scenes"], "told scenes need a model of their sizes"),
        (["--tokenizer", "absent.model"], "no such file; or give bytes"),
        (["--tokenizer", __file__], "is no sentencepiece model"),
        (["--config.vocab-size", "100"], "do not fit a vocabulary of 100"),
        (["--temporal.batch", "3", "--fractions", "0", "0", "1", "0", "0"], "--temporal.batch must be a multiple of 2"),
        (["--clips", "3", "--fractions", "0", "0", "1", "1", "0"], "--temporal.batch must be a multiple of 3"),
        (["--clips", "3", "--temporal.batch", "3", "--fractions", "0", "0", "1", "1", "0"], "of 6"),
        (["--clips", "1"], "--clips lies between 2 and 256"),
        (["--config.segment", "1"], "segment 2"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_run(tmp_path, flags, line):
    with pytest.raises(MlxworldError, match=line):
        train.main([*argv("synthetic", tmp_path / "run"), *flags])
    assert not (tmp_path / "run/train.json").exists()


def test_films_too_short_for_two_moments_name_the_way_out(tmp_path):
    film(tmp_path / "films/a.mp4", 6, "grey")
    with pytest.raises(MlxworldError, match=r"no film of two clips .* give 2, 3 or 4 --fractions"):
        train.main(argv(tmp_path / "films", tmp_path / "run"))
    film(tmp_path / "films/b.mp4", 12, "grey")
    with pytest.raises(MlxworldError, match=r"no film of 4 clips \(2 s\), .* give --clips 3, or 2 or 3 --fractions"):
        train.main([*argv(tmp_path / "films", tmp_path / "run"), "--clips=4"])
    with pytest.raises(MlxworldError, match="lies inside the dataset"):
        train.main(argv(tmp_path / "films", tmp_path / "films/run"))


def test_noise_has_clips_in_turn():
    batch = noise.Noise(CONFIG).batch(np.random.default_rng(0), 4, clips=2)
    assert batch["time"].tolist() == [0, 1, 0, 1] and batch["text"].max() < CONFIG.vocab_size
