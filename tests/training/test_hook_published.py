"""A hook, or adapters, taught to a published model that stays as it is: what is learnt is what is asked later."""

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mlxworld
from mlxworld import MlxworldError, ask, train
from mlxworld.data.pairs.opening import open_told
from mlxworld.files import checkpoint, hook_file, pretrained
from mlxworld.recipes.vision_language import QUESTION, Recipe, Settings, Sizes
from mlxworld.text import chat
from mlxworld.text.assistant import Assistant
from mlxworld.text.generate import Options
from mlxworld.text.lessons import Lessons
from mlxworld.text.prompt import extended, prompt
from mlxworld.training import hooks, lora
from tests.training import tiny

ORACLES = Path(__file__).parents[1] / "oracles"
WORDS = {"red": "red", "blue": "blue, and no more is to be said"}
COLOURS = {"red": (200, 30, 0), "blue": (0, 60, 200)}
SIZE, LENGTH = 56, 6  # pixels of a side, tokens of an answer: one is shorter, one is cut
SEES = ["llava", "llava_next", "gemma3", "mllama", "nvlm_d", "qwen2_vl"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, colour in COLOURS.items():
        Image.new("RGB", (SIZE, SIZE), colour).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(WORDS[name])
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for name, text in WORDS.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def teach(data, out, model, backend="torch", *more: str):
    flags = [f"--picture-size={SIZE}", f"--tokens={LENGTH}", "--learn.batch=4", "--learn.steps=12", "--learn.lr=0.05"]
    given = more if "--lora" in more else ("--hook", "night", "--hook-tokens=4", *more)
    argv = [f"--data={data}", f"--out={out}", f"--from={model}", f"--backend={backend}", "--log-steps=1"]
    train.main([*argv, *flags, *given])
    return out / "night.safetensors"


def surprise(it: Assistant, text: str, picture: np.ndarray | None, question: str) -> np.ndarray:
    """Cross entropy of each token of an answer alone, as whoever asks has it."""
    kinds, shown = ([], []) if picture is None else (["image"], [picture])
    arrays, seen = it.read(it.text([{"role": "user", "content": chat.parts(question, kinds)}]), shown)
    ids = it.ids(text)[:LENGTH]
    x = it.generator.logits(extended(arrays, np.array([ids])), seen)[0, -len(ids) - 1 : -1].astype(np.float64)
    return np.log(np.exp(x).sum(-1)) - x[np.arange(len(ids)), ids]


def shown(name: str) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), COLOURS[name], np.uint8)


def surprises(it: Assistant, sees: bool = True) -> float:
    question = QUESTION if sees else "?"
    rows = [surprise(it, WORDS[name], shown(name) if sees else None, question) for name in WORDS]
    return float(np.concatenate(rows).mean())


def lesson(backend: str, model: str, data: Path, cache: Path, question: str, rows: int = 5):
    """An assistant, and a batch with the features of its pictures, on the device."""
    package = mlxworld.on(backend)
    cfg = Settings(
        data=str(data), out=cache, from_=str(ORACLES / model), hook="night", picture_size=SIZE, tokens=LENGTH
    )
    recipe, loaded = Recipe(cfg), pretrained.load(ORACLES / model, package, "float32")
    told = open_told(Sizes(SIZE, LENGTH), str(data), None, None, cache)
    recipe._lessons = Lessons(Assistant(loaded), told, question, LENGTH)
    run = type("Run", (), {"model": loaded.model, "engine": package.engine, "package": package})
    batch = recipe._seen(run, recipe._lessons.batch(np.random.default_rng(3), rows))  # type: ignore[arg-type]
    return package, recipe._lessons.assistant, package.engine.array(batch), told


def loss_of(package, it, batch) -> float:
    losses = importlib.import_module(f"{package.__name__}.models.vision_language.losses")
    with package.engine.inference():
        return float(package.engine.numpy(losses.answer_loss(it.generator.model, batch)[0]))


@pytest.mark.parametrize(("backend", "model"), [*(("torch", m) for m in SEES), ("mlx", "llava"), ("mlx", "mllama")])
def test_what_is_learnt_is_what_an_answer_is_later(backend, model, pictures, tmp_path):
    """Rows of a batch, filled up and with their pictures side by side, cost what each costs alone."""
    package, it, batch, told = lesson(backend, model, pictures, tmp_path, QUESTION)
    drawn, seen = told.draw(np.random.default_rng(3), 5)
    assert len(set(drawn)) == 2 and seen is not None
    alone = np.concatenate([surprise(it, *row, QUESTION) for row in zip(drawn, seen, strict=True)])
    assert loss_of(package, it, batch) == pytest.approx(alone.mean(), rel=2e-4)


@pytest.mark.parametrize("backend", mlxworld.BACKENDS)
def test_texts_are_learnt_as_they_stand_or_as_answers(backend, texts, tmp_path):
    package, it, batch, told = lesson(backend, "phi3", texts, tmp_path, "")
    rows = package.engine.numpy(batch)
    lines = [it.ids(text, begins=True) for text in WORDS.values()]
    for ids, answer, counts in zip(rows["ids"], rows["answer"], rows["counts"], strict=True):
        n = int(counts.sum())
        part = [int(ids[0]), *answer[:n].tolist()]
        assert any(part == line[i : i + n + 1] for line in lines for i in range(len(line)))
        assert ids[1 : n + 1].tolist() == answer[:n].tolist() and n in (LENGTH, len(lines[0]) - 1)
    alone = []
    for ids, counts in zip(rows["ids"], rows["counts"], strict=True):
        row = ids[: int(counts.sum()) + 1]
        x = it.generator.logits(prompt([row.tolist()]))[0, :-1].astype(np.float64)
        alone.append(np.log(np.exp(x).sum(-1)) - x[np.arange(len(x)), row[1:]])
    assert loss_of(package, it, batch) == pytest.approx(np.concatenate(alone).mean(), rel=2e-4)
    package, it, batch, told = lesson(backend, "phi3", texts, tmp_path, "?")
    drawn, _ = told.draw(np.random.default_rng(3), 5)
    alone = np.concatenate([surprise(it, text, None, "?") for text in drawn])
    assert loss_of(package, it, batch) == pytest.approx(alone.mean(), rel=2e-4)


@pytest.mark.parametrize(("backend", "model"), [("torch", "llava"), ("mlx", "llava"), ("torch", "mllama")])
def test_the_hook_alone_learns_and_is_asked_with(backend, model, pictures, tmp_path, monkeypatch, capsys):
    weights, save = {}, Recipe.save

    def kept(self, run, card, done):
        save(self, run, card, done)
        arrays = run.package.nn.parameters(run.model)
        weights.update(run.engine.numpy({n: x for n, x in arrays.items() if n not in run.added}))

    monkeypatch.setattr(Recipe, "save", kept)
    file = teach(pictures, tmp_path / "a", ORACLES / model, backend)
    cfg, arrays = hook_file.load(file)
    assert (cfg.name, cfg.family, cfg.num_tokens) == ("night", "vision_language", 4)
    assert np.abs(arrays["gate_bias"] + 4).min() > 1e-3 and np.abs(arrays["transforms.0.mlp.down.weight"]).max() > 0
    state = checkpoint.open(tmp_path / "a/checkpoint.safetensors")
    assert all(".hooks." in n for n in state if n.startswith(("done.", "ema.", "model.")))
    assert not (tmp_path / "a/model.safetensors").exists() and (tmp_path / "a/samples/final.txt").read_text()

    package = mlxworld.on(backend)
    plain, hooked = (Assistant.load(ORACLES / model, package, "float32", hooks=h) for h in ((), (file,)))
    own = package.engine.numpy(package.nn.parameters(plain.generator.model))
    assert own.keys() == weights.keys() and all(x.tobytes() == weights[n].tobytes() for n, x in own.items())
    before, after = surprises(plain), surprises(hooked)
    assert after < before - 0.2
    asked = ["--model", str(ORACLES / model), "--image", str(pictures / "red.png"), "--most", "6", QUESTION]
    capsys.readouterr()
    ask.main([*asked, "--backend", backend, "--hook", str(file)])
    assert capsys.readouterr().out.rstrip("\n") == hooked.answer(QUESTION, [shown("red")], Options(6)).rstrip("\n")
    hooked.generator.model.hooked().remove_hook("night")
    assert surprises(hooked) == before, "bit-equal without it"


@pytest.mark.parametrize(("backend", "model"), [("torch", "gemma3"), ("mlx", "gemma3")])
def test_no_later_word_of_an_answer_leaks_through_a_hook(backend, model, pictures, tmp_path):
    package, it, batch, _ = lesson(backend, model, pictures, tmp_path, QUESTION, rows=2)
    hooks.add(package, it.generator.model.hooked(), "night", 4, "vision_language", seed=0, gate=3.0)
    rows = package.engine.numpy(batch)
    rows["counts"] = rows["counts"] * (np.arange(LENGTH) < 2)
    other = {n: x.copy() for n, x in rows.items()}
    other["ids"][:, -LENGTH + 2 :] += 1  # the words after those that count
    first, second = (loss_of(package, it, package.engine.array(x)) for x in (rows, other))
    assert first == second
    other["ids"][:, -LENGTH] += 1
    assert loss_of(package, it, package.engine.array(other)) != first


@pytest.mark.parametrize("kind", ["hook", "lora"])
def test_it_goes_on_after_a_stop(pictures, tmp_path, monkeypatch, kind):
    more = ["--learn.steps=4", "--save-minutes=0", *(["--lora", "2"] if kind == "lora" else [])]
    model = shutil.copytree(ORACLES / "llava", tmp_path / "model", ignore=shutil.ignore_patterns("reference", "native"))
    teach(pictures, tmp_path / "whole", model, "torch", *more)
    with tiny.interrupted(monkeypatch, after=2):
        teach(pictures, tmp_path / "cut", model, "torch", *more)
    shutil.copytree(tmp_path / "cut", tmp_path / "other")
    teach(pictures, tmp_path / "cut", model, "torch", *more, "--resume")
    file = "model.safetensors" if kind == "lora" else "night.safetensors"
    whole, cut = (dict(checkpoint.open(tmp_path / name / file).items()) for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(x.tobytes() == cut[n].tobytes() for n, x in whole.items())
    (model / "generation_config.json").write_text("{}")
    with pytest.raises(MlxworldError, match=r"--from .* is not the model that .* began with"):
        teach(pictures, tmp_path / "other", model, "torch", *more, "--resume")


@pytest.mark.parametrize("backend", mlxworld.BACKENDS)
def test_adapters_are_in_the_weights_of_a_published_model_like_the_one_before(backend, texts, tmp_path):
    teach(texts, tmp_path / "a", ORACLES / "phi3", backend, "--lora", "2", "--question", "?")
    published = json.loads((ORACLES / "phi3/config.json").read_text())
    assert json.loads((tmp_path / "a/config.json").read_text()) == published
    before, after = (
        dict(pretrained.our_weights(folder, published).items()) for folder in (ORACLES / "phi3", tmp_path / "a")
    )
    moved = {n for n, x in before.items() if x.tobytes() != after[n].tobytes()}
    layers = published["num_hidden_layers"]
    assert moved == {f"decoder.blocks.{i}.attn.{name}.weight" for i in range(layers) for name in lora.LAYERS}
    package = mlxworld.on(backend)
    plain, adapted = (Assistant.load(folder, package, "float32") for folder in (ORACLES / "phi3", tmp_path / "a"))
    assert surprises(adapted, sees=False) < surprises(plain, sees=False) - 0.3


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ("llava", ["--hook", "../x"], "a name of letters"),
        ("llava", ["--hook", "night", "--preset", "nano"], "--preset nano: .* is a published model"),
        ("llava", ["--hook", "night", "--tokens", "0"], "--tokens between 1"),
        ("llava", ["--hook", "night", "--image-dir", "."], "are of --data coco"),
        ("llava", [], "give --from FOLDER, and --hook NAME or --lora RANK"),
        ("llava", ["--hook", "night", "--data", "nowhere"], "no data at nowhere"),
        ("phi3", ["--hook", "night"], "takes no pictures: give --data a folder of .txt files"),
        ("clip", ["--hook", "night"], "is no model that writes text"),
    ],
)
def test_what_cannot_be_taught_is_one_line(model, more, said, pictures, tmp_path):
    argv = ["--data", str(pictures), "--out", str(tmp_path / "a"), "--from", str(ORACLES / model), "--backend", "torch"]
    with pytest.raises(MlxworldError, match=said):
        train.main([*argv, *more])
    assert not (tmp_path / "a/train.json").exists()


def test_a_family_without_presets_and_packed_weights_are_one_line(pictures, tmp_path):
    with pytest.raises(MlxworldError, match="vision_language has no presets: it begins --from"):
        train.main(["--model", "vision_language", "--data", str(pictures), "--out", str(tmp_path / "a"), "--hook", "x"])
    model = shutil.copytree(ORACLES / "llava", tmp_path / "model")
    about = json.loads((model / "config.json").read_text()) | {"quantization": {"group_size": 32, "bits": 8}}
    (model / "config.json").write_text(json.dumps(about))
    with pytest.raises(MlxworldError, match="is quantised: --lora is of plain weights"):
        teach(pictures, tmp_path / "a", model, "torch", "--lora", "2")


@pytest.mark.parametrize("backend", mlxworld.BACKENDS)
@pytest.mark.parametrize("more", [(), ("--lora", "2")])
def test_frozen_weights_of_another_type_learn_and_write(pictures, tmp_path, backend, more):
    """Samples are made outside of the step, where no precision is chosen for it."""
    short = ("--learn.steps=2", "--precision=bfloat16", "--learn.batch=2")
    teach(pictures, tmp_path / "a", ORACLES / "qwen2_vl", backend, *short, *more)
    assert WORDS["red"] in (tmp_path / "a/samples/final.txt").read_text()
    state = checkpoint.open(tmp_path / "a/checkpoint.safetensors")
    assert {str(state.dtypes[n]) for n in state if n.startswith("done.")} == {"float32"}
