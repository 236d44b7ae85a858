"""A hook, or adapters, taught to a model of any modality that stays as it is, on pictures with words beside them."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import mlxworld
from apps.play.__main__ import Options, telling
from mlxworld import MlxworldError, ask, train
from mlxworld.files import checkpoint, hook_file
from mlxworld.play.translator import Translator
from mlxworld.text.bytes import SIZE
from mlxworld.text.rows import printable
from mlxworld.training import lora
from tests.training import tiny
from tests.translators import CONFIG as SMALL
from tests.translators import run_folder

CONFIG = replace(SMALL, vocab_size=SIZE)  # all ids can be read
COLOURS = {"red": (200, 0, 0), "blue": (0, 0, 200)}
ONLY = ["--model=omnilatent", "--steps=12", "--joint.batch=4", "--joint.lr=0.1", "--log-steps=1", "--to", "text"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, colour in COLOURS.items():
        Image.new("RGB", (20, 20), colour).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(name)
    return folder


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A run whose first weights tell words apart, so that what it reads matters."""
    folder = run_folder(tmp_path_factory.mktemp("runs") / "told", 9, CONFIG)
    arrays, about = checkpoint.load(folder / "model.safetensors")
    checkpoint.save(
        folder / "model.safetensors", arrays | {"text.table.weight": 30 * arrays["text.table.weight"]}, about
    )
    return folder


def teach(data, out, parent, backend, *more: str):
    given = more if "--lora" in more else ("--hook", "night", "--hook-tokens=4", *more)
    train.main([f"--data={data}", f"--out={out}", f"--from={parent}", f"--backend={backend}", *ONLY, *given])
    return dict(checkpoint.open(out / "model.safetensors").items())


def loss_of(translator, pictures) -> float:
    """The mean cross entropy of each picture's word, of the model as it is loaded."""
    rows = [translator.read(str(pictures / f"{name}.png"))[1][0] for name in COLOURS]
    ids = np.zeros((len(COLOURS), CONFIG.max_text), np.int32)
    for row, name in zip(ids, COLOURS, strict=True):
        found = translator.tokenizer.encode(name, special=True)
        row[: len(found)] = found
    engine = translator.package.engine
    with engine.inference():
        logits = translator.model("image", engine.array(np.stack(rows)), "text", text=engine.array(ids))["output"]
    x = engine.numpy(logits).astype(np.float64)
    chance = x - np.log(np.exp(x).sum(-1, keepdims=True))
    return -float(np.take_along_axis(chance, ids[..., None], -1)[ids > 0].mean())


@pytest.mark.parametrize("backend", mlxworld.BACKENDS)
def test_the_hook_alone_learns_and_whoever_writes_uses_it(pictures, told, tmp_path, backend, capsys):
    after, before = teach(pictures, tmp_path / "a", told, backend), dict(checkpoint.open(told / "model.safetensors"))
    assert before.keys() == after.keys()
    assert all(np.array_equal(x.astype(np.float16), after[n]) for n, x in before.items() if x.dtype == np.float32)
    cfg, arrays = hook_file.load(tmp_path / "a/night.safetensors")
    assert (cfg.name, cfg.family, cfg.depth, cfg.num_tokens) == ("night", "omnilatent", CONFIG.num_layers, 4)
    assert np.abs(arrays["gate_bias"] + 4).min() > 1e-3
    state = checkpoint.open(tmp_path / "a/checkpoint.safetensors")
    assert all(".hooks." in n or n.startswith("done.hooks.") for n in state if n.startswith(("done.", "ema.")))
    said = capsys.readouterr().err
    assert f"mlxworld play --world {told} --hook {tmp_path / 'a'}/night.safetensors" in " ".join(said.split())

    file = tmp_path / "a/night.safetensors"
    plain, hooked = (Translator.load(told, backend, hooks=hooks) for hooks in ((), (file,)))
    assert loss_of(hooked, pictures) < loss_of(plain, pictures) - 0.1
    picture = np.stack([hooked.read(str(pictures / "red.png"))[1][0]])
    outputs = [t.translate("image", picture, "text") for t in (plain, hooked)]
    hooked.model.remove_hook("night")
    outputs.append(hooked.translate("image", picture, "text"))
    said = [" ".join(plain.texts(ids)[0].split()) for ids in outputs]
    assert np.array_equal(outputs[0], outputs[2]) and said[0] != said[1]
    assert loss_of(hooked, pictures) == loss_of(plain, pictures), "bit-equal without it"

    argv = ["--model", str(told), "--image", str(pictures / "red.png"), "--backend", backend, "--hook", str(file)]
    ask.main(argv)
    assert " ".join(capsys.readouterr().out.split()) == " ".join(printable(said[1]).split())


def test_the_page_has_the_hook(pictures, told, tmp_path, monkeypatch):
    teach(pictures, tmp_path / "a", told, "torch", "--steps=1")
    loaded = []
    monkeypatch.setattr("apps.play.__main__.tell.create_app", lambda load: loaded.append(load()))
    telling(Options(world=str(told), backend="torch", hook=(tmp_path / "a/night.safetensors",)), loopback=True)
    assert list(loaded[0].model.opened) == ["night"]


@pytest.mark.parametrize("kind", ["hook", "lora"])
def test_it_goes_on_after_a_stop(pictures, told, tmp_path, monkeypatch, kind):
    more = ["--steps=4", "--save-minutes=0", *(["--lora", "2"] if kind == "lora" else [])]
    teach(pictures, tmp_path / "whole", told, "torch", *more)
    with tiny.interrupted(monkeypatch, after=2):
        teach(pictures, tmp_path / "cut", told, "torch", *more)
    teach(pictures, tmp_path / "cut", told, "torch", *more, "--resume")
    file = "model.safetensors" if kind == "lora" else "night.safetensors"
    whole, cut = (dict(checkpoint.open(tmp_path / name / file).items()) for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(x.tobytes() == cut[n].tobytes() for n, x in whole.items())


@pytest.mark.parametrize("backend", mlxworld.BACKENDS)
def test_adapters_alone_learn_and_are_in_the_weights(pictures, told, tmp_path, backend):
    before = dict(checkpoint.open(told / "model.safetensors").items())
    after = teach(pictures, tmp_path / "a", told, backend, "--lora", "2")
    moved = {n for n, x in before.items() if not np.array_equal(x.astype(np.float16), after[n].astype(np.float16))}
    assert before.keys() == after.keys()
    assert moved == {f"blocks.{i}.attn.{name}.weight" for i in range(CONFIG.num_layers) for name in lora.LAYERS}
    plain, adapted = (Translator.load(folder, backend) for folder in (told, tmp_path / "a"))
    assert loss_of(adapted, pictures) < loss_of(plain, pictures) - 0.1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--tokenizer", "bytes"], "--tokenizer does not go with --hook"),
        (["--config.num-layers", "3"], r"--hook and --lora take a model as it is: .* has no"),
        (["--to", "video"], "has nothing that the phase joint makes"),
        (["--hook", "model"], "a name of letters"),
        (["--hook-tokens", "0"], "--hook-tokens lies between"),
    ],
)
def test_what_cannot_be_taught_is_one_line(pictures, told, tmp_path, more, said):
    with pytest.raises(MlxworldError, match=said):
        teach(pictures, tmp_path / "a", told, "torch", *more)
    assert not (tmp_path / "a/train.json").exists()
