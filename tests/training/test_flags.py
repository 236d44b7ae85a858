"""Every flag of a training reaches the model or the loop; what is no choice is no flag."""

import dataclasses
import functools
import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mlxworld
from mlxworld import train
from mlxworld.configs.openworld import OpenWorldConfig
from mlxworld.configs.optim import OptimConfig
from mlxworld.training.stages import Run
from tests.training import tiny

NO_FLAGS = {"optim.lr", *(f"model.{name}" for name in ("family", "fps", "sample_rate", "samples", "actions"))}


def leaves(value, prefix="") -> dict:
    """Every setting of a config: {"optim.ema": 0.999, ...}."""
    flat = {}
    for f in dataclasses.fields(value):
        x = getattr(value, f.name)
        flat |= leaves(x, f"{prefix}{f.name}.") if dataclasses.is_dataclass(x) else {prefix + f.name: x}
    return flat


ALL = leaves(train.TrainConfig(data="x", out=Path("y")))
# Values that differ from the tiny world's and keep it valid; what is not here is doubled, or made true.
OTHERS = {
    **{"data": "elsewhere", "out": "z", "preset": "play", "backend": "mlx", "precision": "bfloat16"},
    **{"tokenizer.frames": (3, 5), "dynamics.frames": (3, 5), "forcing.frames": (3, 5)},
    **{"optim.name": "adamw", "optim.beta1": 0.5, "optim.beta2": 0.5, "optim.momentum": 0.5, "optim.ema": 0.05},
    **{"optim.eps": 0.1, "optim.skips": ("head",), "optim.weight_decay": 0.9, "optim.clip": 1e-3},
    **{"model.size": 64, "model.patch": 4, "model.vision.taps": (1, 2), "model.vision.encoding": "fixed"},
    **{"model.vision.memory": 1, "model.audio.columns": 2, "model.audio.overlap": 2, "model.latent.layout": "queries"},
    **{"model.latent.grid": 4, "model.latent.content": 4, "model.latent.noise": 0.5, "model.dynamics.every": 1},
    **{"model.dynamics.head": "regression", "model.dynamics.steps": 4, "model.dynamics.levels": 4, "seed": 1},
    **{"model.dynamics.context_noise": 0.5, "model.dynamics.action_dropout": 0.9, "model.dynamics.dropout": 0.5},
    **{"model.dynamics.context": "last", "model.dynamics.cache": "int8"},
    **{"model.dynamics.period": 512, "model.decoder.channels": (16, 8, 8)},
}


def other(name: str):
    value = OTHERS.get(name)
    if value is not None:
        return value
    before = tiny.MODEL.get(name, tiny.STAGES.get(name, ALL[name]))
    return not before if isinstance(before, bool) else 2 * before


def words(name: str) -> list[str]:
    value, flag = other(name), f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag]
    return [flag, *map(str, np.atleast_1d(value))]


# What must change together, so that the model stays possible.
TOGETHER = {
    "model.size": ["--model.patch", "16", "--model.decoder.channels", "8", "8", "8", "8"],
    "model.vision.taps": ["--model.vision.depth", "2"],
    "model.vision.depth": ["--model.vision.taps", "2"],
    "model.patch": ["--model.decoder.channels", "8", "8"],
    "optim.momentum": ["--optim.name", "muon"],
    "optim.skips": ["--optim.name", "muon"],
}


@functools.cache
def parsed(name: str | None = None) -> train.TrainConfig:
    argv = ["--data", "x", "--out", "y", *tiny.argv()]
    return train.parse(argv + TOGETHER.get(name or "", []) + (words(name) if name else []))


@pytest.mark.parametrize("name", [name for name in ALL if name not in NO_FLAGS])
def test_every_flag_is_parsed(name):
    before, after = leaves(parsed()), leaves(parsed(name))
    value = other(name)
    assert str(after[name]) == str(value) and str(before[name]) != str(value)


@pytest.mark.parametrize("name", sorted(NO_FLAGS))
def test_what_the_data_or_the_stage_decides_is_no_flag(name):
    with pytest.raises(SystemExit):
        train.parse(["--data", "x", "--out", "y", f"--{name.replace('_', '-')}", "1"])


def built(cfg: OpenWorldConfig):
    torch = mlxworld.on("torch")
    cfg = cfg.fitted(tiny.ACTIONS, tiny.FPS, tiny.FPS * tiny.S, tiny.S)
    kind = importlib.import_module("torch_backend.models.openworld.model").TransformerWorldModel
    return torch, cfg, kind(cfg).init(torch.random.key(0))


def behaviour(cfg: OpenWorldConfig) -> list:
    """What a model is and does: its parameters, both losses with one key, a dream of two frames."""
    torch, cfg, model = built(cfg)
    losses = importlib.import_module("torch_backend.models.openworld.losses")
    rng, key = np.random.default_rng(0), torch.random.key(1)
    video = rng.integers(0, 255, (2, 5, cfg.size, cfg.size, 3), dtype=np.uint8)
    clips = {"video": video, "audio": rng.uniform(-1, 1, (2, 5, tiny.S)).astype(np.float32)}
    z = rng.normal(size=(4, 12, cfg.latent.tokens, cfg.latent.dim)).astype(np.float32)
    latents = {"z": z, "actions": rng.integers(0, 3, (4, 12)).astype(np.int32)}
    shapes = {n: tuple(x.shape) for n, x in torch.engine.parameters(model).items()}
    with torch.engine.inference():
        seen = losses.tokenizer_loss(model.tokenizer, torch.engine.array(clips), key)[0]
        foreseen = losses.dynamics_loss(model.dynamics, torch.engine.array(latents), key)[0]
        dreamt, cache = [], model.empty(1)
        for t in range(2):
            noise = torch.engine.array(z[:1, t : t + 1])
            _, sound, latent, cache = model.step(cache, noise, torch.engine.array(latents["actions"][:1, t : t + 1]))
            dreamt += [sound, latent]
    return [shapes, float(seen), float(foreseen), [torch.engine.numpy(x).tobytes() for x in dreamt]]


@pytest.fixture(scope="module")
def usual():
    return behaviour(parsed().model)


MODEL = [name for name in ALL if name.startswith("model.") and name not in NO_FLAGS | {"model.checkpointing"}]


@pytest.mark.parametrize("name", MODEL)
def test_every_flag_of_the_model_changes_what_it_is_or_does(name, usual):
    assert behaviour(parsed(name).model) != usual


def test_checkpointing_reaches_both_parts_and_changes_nothing_else(monkeypatch, usual):
    cfg = dataclasses.replace(parsed().model, checkpointing=True)
    assert behaviour(cfg) == usual
    torch, cfg, model = built(cfg)
    assert model.tokenizer.vision.checkpointing
    given = []
    run: Any = object.__new__(Run)
    run.config, run.losses = cfg, SimpleNamespace(dynamics_loss=lambda *args: given.append(args[-1]))
    run._dynamics_loss(model.dynamics, {}, None)
    assert given == [True]


def trained(optim: OptimConfig) -> list[bytes]:
    """Weights and averages after three steps on one batch."""
    torch, cfg, model = built(parsed().model)
    losses = importlib.import_module("torch_backend.models.openworld.losses")
    trainer = torch.engine.Trainer(model.dynamics, losses.dynamics_loss, optim)
    z = np.random.default_rng(0).normal(size=(4, 4, cfg.latent.tokens, cfg.latent.dim)).astype(np.float32)
    for step in range(3):
        trainer.step({"z": z, "actions": np.zeros((4, 4), np.int32)}, step, 1e-2)
    return [x.tobytes() for n, x in trainer.state().items() if n.startswith(("model.", "ema."))]


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("optim.") and name not in NO_FLAGS])
def test_every_flag_of_the_optimizer_changes_the_weights(name):
    usual = parsed().optim
    if TOGETHER.get(name):
        usual = dataclasses.replace(usual, name="muon")
    assert trained(parsed(name).optim) != trained(usual)


LOOP = [name for name in ALL if not name.startswith(("model.", "optim."))]


@pytest.mark.parametrize("name", LOOP)
def test_every_flag_of_the_loop_is_read(name):
    """By name in the loop's own source; that stages, precision and rates arrive is tested on a run (test_train.py)."""
    folder = Path(train.__file__).parent
    source = "".join((folder / file).read_text() for file in ("train.py", "stages.py"))
    assert re.search(rf"\b(cfg|stage|_stage\(index\)|_stage\(i\))\.{name.split('.')[-1]}\b", source)
