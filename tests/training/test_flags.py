"""Every flag of a training reaches the model or the loop; what is no choice is no flag."""

import dataclasses
import functools
import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import mlxworld
from mlxworld import train
from mlxworld.configs.openworld import OpenWorldConfig
from mlxworld.configs.optim import OptimConfig
from mlxworld.recipes.openworld import Recipe, Settings
from mlxworld.training.turn import Turn
from tests.training import tiny

NO_FLAGS = {
    "optim.lr",
    *(f"config.{name}" for name in ("family", "fps", "sample_rate", "samples", "actions", "buttons", "axes")),
}
NO_FLAGS |= {"config.physics.objects"}


def leaves(value, prefix="") -> dict:
    """Every setting of a config: {"optim.ema": 0.999, ...}."""
    flat = {}
    for f in dataclasses.fields(value):
        x = getattr(value, f.name)
        flat |= leaves(x, f"{prefix}{f.name}.") if dataclasses.is_dataclass(x) else {prefix + f.name: x}
    return flat


ALL = leaves(Settings(data="x", out=Path("y")))
# Values that differ from the tiny world's and keep it valid; what is not here is doubled, or made true.
OTHERS = {
    **{
        "model": "openworld",
        "from_": "elsewhere",
        "minutes": 3.5,
        "compile": True,
        "cache": "there",
        "hook": "night",
        "tokenizer.share": 0.5,
    },
    **{"data": "elsewhere", "out": "z", "preset": "play", "backend": "mlx", "precision": "bfloat16"},
    **{"tokenizer.frames": (3, 5), "dynamics.frames": (3, 5), "forcing.frames": (3, 5)},
    **{"optim.name": "adamw", "optim.beta1": 0.5, "optim.beta2": 0.5, "optim.momentum": 0.5, "optim.ema": 0.05},
    **{"optim.eps": 0.1, "optim.skips": ("head",), "optim.weight_decay": 0.9, "optim.clip": 1e-3},
    **{"config.size": 64, "config.patch": 4, "config.vision.taps": (1, 2), "config.vision.encoding": "fixed"},
    **{
        "config.vision.temporal_window": 1,
        "config.audio.columns": 2,
        "config.audio.overlap": 2,
        "config.latent.layout": "queries",
    },
    **{
        "config.latent.grid": 4,
        "config.latent.content": 4,
        "config.latent.noise": 0.5,
        "config.dynamics.global_every": 1,
    },
    **{"config.dynamics.head": "regression", "config.dynamics.steps": 4, "config.dynamics.noise_levels": 4, "seed": 1},
    **{"config.dynamics.context_noise": 0.5, "config.dynamics.action_dropout": 0.9, "config.dynamics.dropout": 0.5},
    **{"config.dynamics.context_swap": 0.5, "sharpen.steps": 3, "own_frames": 2, "lora": 3},
    **{"config.dynamics.context": "last", "config.dynamics.kv_cache": "int8"},
    **{
        "config.physics.dropout": 0.5,
        "rare": 0.5,
        "config.dynamics.period": 512,
        "config.decoder.channels": (16, 8, 8),
    },
}


def other(name: str):
    value = OTHERS.get(name)
    if value is not None:
        return value
    before = tiny.MODEL.get(name, tiny.STAGES.get(name, ALL[name]))
    return not before if isinstance(before, bool) else 2 * before


def words(name: str) -> list[str]:
    value, flag = other(name), f"--{name.rstrip('_').replace('_', '-')}"
    if isinstance(value, bool) and name != "compile":  # that has a third value, left to the machine
        return [flag]
    return [flag, *map(str, np.atleast_1d(value))]


# What must change together, so that the model stays possible.
TOGETHER = {
    "config.size": ["--config.patch", "16", "--config.decoder.channels", "8", "8", "8", "8"],
    "config.vision.taps": ["--config.vision.depth", "2"],
    "config.vision.depth": ["--config.vision.taps", "2"],
    "config.patch": ["--config.decoder.channels", "8", "8"],
    "optim.momentum": ["--optim.name", "muon"],
    "optim.skips": ["--optim.name", "muon"],
}


@functools.cache
def parsed(name: str | None = None) -> Settings:
    argv = ["--data", "x", "--out", "y", *tiny.argv()]
    return cast(Settings, train.parse(argv + TOGETHER.get(name or "", []) + (words(name) if name else [])))


@pytest.mark.parametrize("name", [name for name in ALL if name not in NO_FLAGS | {"model"}])
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
    cfg = dataclasses.replace(cfg, physics=dataclasses.replace(cfg.physics, objects=2))
    kind = importlib.import_module("torch_backend.models.openworld.model").TransformerWorldModel
    return torch, cfg, kind(cfg).init(torch.random.key(0))


def behaviour(cfg: OpenWorldConfig) -> list:
    """What a model is and does: its parameters, its losses with one key, a dream of two frames."""
    torch, cfg, model = built(cfg)
    rooms = "torch_backend.models.openworld"
    losses, physics = (importlib.import_module(f"{rooms}.{name}") for name in ("losses", "physics_losses"))
    rng, key = np.random.default_rng(0), torch.random.key(1)
    video = rng.integers(0, 255, (2, 5, cfg.size, cfg.size, 3), dtype=np.uint8)
    clips = {"video": video, "audio": rng.uniform(-1, 1, (2, 5, tiny.S)).astype(np.float32)}
    z = rng.normal(size=(4, 12, cfg.latent.tokens, cfg.latent.dim)).astype(np.float32)
    latents = {"z": z, "actions": rng.integers(0, 3, (4, 12)).astype(np.int32)}
    bodies = {n: rng.random((4, 12, 2, 3)).astype(np.float32) for n in ("position", "velocity")}
    bodies |= {n: rng.uniform(1, 2, (4, 12, 2)).astype(np.float32) for n in ("mass", "energy")}
    shapes = {n: tuple(x.shape) for n, x in torch.engine.parameters(model).items()}
    with torch.engine.inference():
        seen = losses.tokenizer_loss(model.tokenizer, torch.engine.array(clips), key)[0]
        foreseen = losses.dynamics_loss(model.dynamics, torch.engine.array(latents), key)[0]
        read = physics.physics_loss(model.physics, torch.engine.array({"z": z} | bodies), key)[0]
        dreamt, cache = [], model.init_state(1)
        for t in range(2):
            noise = torch.engine.array(z[:1, t : t + 1])
            _, sound, latent, cache = model.step(cache, noise, torch.engine.array(latents["actions"][:1, t : t + 1]))
            dreamt += [sound, latent]
    return [shapes, float(seen), float(foreseen), float(read), [torch.engine.numpy(x).tobytes() for x in dreamt]]


@pytest.fixture(scope="module")
def usual():
    return behaviour(parsed().config)


MODEL = [name for name in ALL if name.startswith("config.") and name not in NO_FLAGS | {"config.checkpointing"}]


@pytest.mark.parametrize("name", MODEL)
def test_every_flag_of_the_model_changes_what_it_is_or_does(name, usual):
    assert behaviour(parsed(name).config) != usual


def test_checkpointing_reaches_both_parts_and_changes_nothing_else(monkeypatch, usual):
    cfg = dataclasses.replace(parsed().config, checkpointing=True)
    assert behaviour(cfg) == usual
    torch, cfg, model = built(cfg)
    assert model.tokenizer.vision_encoder.checkpointing
    passed = []
    losses = importlib.import_module("torch_backend.models.openworld.losses")
    monkeypatch.setattr(losses, "dynamics_loss", lambda *args: passed.append(args[-1]))
    stages(cfg)[1].turns[0].loss(model, {}, None)
    assert passed == [True]


def stages(cfg: OpenWorldConfig):
    """The stages of the recipe, for a model of this configuration."""
    torch, cfg, model = built(cfg)
    recipe = object.__new__(Recipe)
    recipe.cfg, recipe.config = dataclasses.replace(parsed(), config=cfg), cfg
    return recipe.stages(cast(Any, SimpleNamespace(package=torch, engine=torch.engine, model=model)))


def trained(optim: OptimConfig) -> list[bytes]:
    """Weights and averages after three steps on one batch."""
    torch, cfg, model = built(parsed().config)
    losses = importlib.import_module("torch_backend.models.openworld.losses")
    turn = Turn("dynamics", lambda m, *args: losses.dynamics_loss(m.dynamics, *args), optim, ("dynamics.",))
    trainer = torch.engine.Trainer(model, (turn,))
    z = np.random.default_rng(0).normal(size=(4, 4, cfg.latent.tokens, cfg.latent.dim)).astype(np.float32)
    for step in range(3):
        trainer.step({"z": z, "actions": np.zeros((4, 4), np.int32)}, step)
    return [x.tobytes() for n, x in trainer.state().items() if n.startswith(("config.", "ema."))]


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("optim.") and name not in NO_FLAGS])
def test_every_flag_of_the_optimizer_changes_the_weights(name):
    usual = parsed().optim
    if TOGETHER.get(name):
        usual = dataclasses.replace(usual, name="muon")
    assert trained(parsed(name).optim) != trained(usual)


LOOP = [name for name in ALL if not name.startswith(("config.", "optim."))]


@pytest.mark.parametrize("name", LOOP)
def test_every_flag_of_the_loop_is_read(name):
    """By name in the loop's own source; that stages, precision and rates arrive is tested on a run (test_train.py)."""
    folder = Path(train.__file__).parent
    files = (
        "train.py",
        "training/run.py",
        "training/finetune.py",
        "training/settings.py",
        "training/worlds.py",
        "recipes/openworld.py",
    )
    source = "".join((folder / file).read_text() for file in files)
    assert re.search(rf"\b(cfg|self|stage|c|s)\.{name.split('.')[-1]}\b", source)
