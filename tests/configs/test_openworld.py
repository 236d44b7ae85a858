"""Configurations: they survive JSON, refuse what cannot be built, and presets have the sizes that they promise."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlxworld
from mlxworld import MlxworldError
from mlxworld.configs.load import from_dict, to_dict
from mlxworld.configs.openworld import PRESETS, OpenWorldConfig, preset
from mlxworld.configs.optim import OptimConfig
from tests.models.small import SMALL, changed, module

CONFIGS = st.builds(
    lambda name, actions, grid, content, head, steps, layout, kind, rest: changed(
        PRESETS[name],
        actions=tuple(actions),
        latent={"grid": grid, "content": content, "layout": layout},
        dynamics={"head": head, "steps": steps, "dropout": rest},
        vision={"encoding": kind, "taps": (PRESETS[name].vision.depth,)},
        checkpointing=rest > 0.25,
    ),
    st.sampled_from(sorted(PRESETS)),
    st.lists(st.text(min_size=1), min_size=1, max_size=20, unique=True),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 31),
    st.sampled_from(["flow", "regression"]),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from(["grid", "queries"]),
    st.sampled_from(["learned", "fixed"]),
    st.floats(0, 0.5),
)


@given(CONFIGS)
def test_a_config_survives_json(cfg):
    again = from_dict(OpenWorldConfig, json.loads(json.dumps(to_dict(cfg))))
    assert again == cfg and hash(again) == hash(cfg)


def test_later_settings_are_dropped_and_absent_ones_are_the_defaults():
    values = {"size": 128, "of_a_later_version": 1, "vision": {"dim": 96, "new": []}}
    assert from_dict(OpenWorldConfig, values) == changed(OpenWorldConfig(), vision={"dim": 96})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "expected an object"),
        ({"vision": 3}, "vision: expected an object"),
        ({"actions": "noop"}, "actions must be a list of str"),
        ({"actions": ["noop", 1]}, "actions must be a list of str"),
        ({"vision": {"taps": [1, "3"]}}, "taps must be a list of int"),
        ({"vision": {"taps": [1, True]}}, "taps must be a list of int"),
        ({"size": "128"}, "size must be int"),
        ({"size": True}, "size must be int"),
        ({"checkpointing": 1}, "checkpointing must be bool"),
        ({"dynamics": {"head": 1}}, "head must be str"),
        ({"dynamics": {"dropout": "no"}}, "dropout must be float"),
        ({"dynamics": {"steps": 3}}, "steps must divide"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(MlxworldError, match=message) as raised:
        from_dict(OpenWorldConfig, values, "world/config.json")
    assert "\n" not in str(raised.value)


def test_whole_numbers_do_where_fractions_are_meant():
    assert from_dict(OpenWorldConfig, {"dynamics": {"dropout": 0}}).dynamics.dropout == 0


ROLLOUT = ("dim", "heads", "depth", "local_window", "global_window", "global_every", "period", "noise_levels", "steps")
RULES = [
    ("size must be a multiple of patch", {"size": 36}),
    ("size / patch must be a multiple", {"latent": {"grid": 3}}),
    ("latent.layout", {"latent": {"layout": "circle"}}),
    ("latent.content", {"latent": {"content": 0}}),
    ("latent.content", {"latent": {"content": 16}}),
    ("latent.noise", {"latent": {"noise": -0.1}}),
    ("actions must not be empty", {"actions": ()}),
    ("actions must be names", {"actions": ("noop", 1)}),
    ("actions must differ", {"actions": ("up", "noop", "up")}),
    ("dynamics.head", {"dynamics": {"head": "gan"}}),
    ("dynamics.steps must divide", {"dynamics": {"steps": 3}}),
    ("dynamics.noise_levels must be a power of two", {"dynamics": {"noise_levels": 6}}),
    ("multiple of local_window and global_window", {"dynamics": {"local_window": 5}}),
    ("multiple of local_window and global_window", {"dynamics": {"global_window": 7}}),
    ("at most 2048", {"dynamics": {"period": 2052}}),
    ("samples must be a multiple", {"samples": 258}),
    ("window must be even", {"samples": 12, "audio": {"overlap": 3}}),
    ("vision.encoding", {"vision": {"encoding": "none"}}),
    ("vision.taps", {"vision": {"taps": ()}}),
    ("vision.taps", {"vision": {"taps": (1, 3)}}),
    ("vision.taps", {"vision": {"taps": (1,)}}),
    ("vision.taps", {"vision": {"taps": (2, 1, 2)}}),
    ("vision.taps", {"vision": {"taps": (1, 1, 2)}}),
    ("multiple of 4 for fixed", {"vision": {"dim": 66, "heads": 1, "encoding": "fixed"}}),
    ("decoder.channels", {"decoder": {"channels": (16, 16)}}),
    ("decoder.channels", {"patch": 1, "decoder": {"channels": ()}}),
    ("must be even", {"dynamics": {"dim": 66}}),
    *(
        ("lie in", {"dynamics": {name: x}})
        for name in ("dropout", "action_dropout", "context_noise", "context_swap")
        for x in (-0.1, 1.0)
    ),
    *(
        (f"{name} must be from 1 to", {name: x})
        for name in ("size", "fps", "samples", "sample_rate")
        for x in (0, -4, 10**9)
    ),
    *(("patch must be at least 1", {"patch": x}) for x in (0, -4)),
    *((f"dynamics.{name} must be", {"dynamics": {name: x}}) for name in ROLLOUT for x in (0, -2)),
    *((f"vision.{name} must be", {"vision": {name: 0}}) for name in ("dim", "heads", "depth", "temporal_window")),
    *((f"audio.{name} must be", {"audio": {name: 0}}) for name in ("bands", "columns", "overlap", "dim")),
    *((f"latent.{name} must be", {"latent": {name: 0}}) for name in ("grid", "audio", "dim")),
    ("vision.taps must be at least 1", {"vision": {"taps": (0, 2)}}),
    ("decoder.channels must be at least 1", {"decoder": {"channels": (16, 16, 0)}}),
    ("multiple of heads", {"vision": {"heads": 3}}),
    ("multiple of heads", {"dynamics": {"heads": 3}}),
    ("multiple of heads", {"decoder": {"heads": 3}}),
]


@pytest.mark.parametrize(("message", "parts"), RULES, ids=[f"{m}, {p}" for m, p in RULES])
def test_what_cannot_be_built_is_refused(message, parts):
    with pytest.raises(MlxworldError, match=message):
        changed(SMALL, **parts)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"name": "sgd"}, "name"),
        ({"lr": -1.0}, "lr"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"eps": 0.0}, "eps"),
        ({"clip": 0.0}, "clip"),
        ({"beta1": 1.0}, "beta1"),
        ({"momentum": -0.1}, "momentum"),
        ({"ema": 1.1}, "ema"),
    ],
)
def test_what_cannot_be_trained_is_refused(parts, message):
    with pytest.raises(MlxworldError, match=message):
        OptimConfig(**parts)


SIZES = {"nano": (8e6, 12.5e6), "play": (30e6, 60e6)} | {
    name: (0.97 * size, 1.03 * size) for name, size in [("small", 86e6), ("base", 307e6), ("large", 1.2e9)]
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_sizes_they_promise(name):
    import torch

    backend = mlxworld.on("torch")
    model = module(backend, "openworld.model").TransformerWorldModel
    cfg, (least, most) = preset(name), SIZES[name.removesuffix("-64")]
    assert cfg.size == (64 if name.endswith("-64") else 128) and cfg.dynamics.dim % 64 == 0
    assert cfg.dynamics.dim // cfg.dynamics.heads in (64, 128)
    with torch.device("meta"):
        held = backend.engine.parameters(model(cfg))
    assert least < sum(p.numel() for p in held.values()) < most


def test_an_unknown_preset_is_named_with_the_known_ones():
    with pytest.raises(MlxworldError, match=r"'huge'.*nano"):
        preset("huge")


@pytest.mark.parametrize(("samples", "columns"), [(1024, 4), (630, 3), (735, 3), (1470, 3), (800, 4), (997, 1)])
def test_a_model_fits_a_datasets_rates(samples, columns):
    cfg = preset("nano").fitted(("noop", "left"), 35, 35 * samples, samples)
    assert (cfg.fps, cfg.samples, cfg.sample_rate, cfg.actions) == (35, samples, 35 * samples, ("noop", "left"))
    assert cfg.audio.columns == columns and cfg.hop * columns == samples and cfg.stft_window % 2 == 0
    assert dataclasses.replace(cfg.audio, columns=4) == preset("nano").audio


def test_frames_a_second_may_be_a_fraction():
    cfg = preset("nano").fitted(("noop", "fire"), 17.5, 22050, 1260)
    read = from_dict(type(cfg), json.loads(json.dumps(to_dict(cfg))))
    assert read == cfg and read.fps == 17.5 and cfg.audio.columns == 4 and cfg.hop == 315
    assert type(from_dict(type(cfg), {"fps": 30}).fps) is int
    with pytest.raises(MlxworldError, match="whole number"):
        dataclasses.replace(cfg, fps=17.3333)


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("columns", [3, 5])
def test_a_preset_hears_no_further_back_than_it_sees(name, columns):
    """The first column of a frame: window and convolutions are overlap + 3 columns before it."""
    cfg = changed(PRESETS[name], audio={"columns": columns}, samples=630).fitted(("noop",), 35, 22050, 630)
    assert cfg.audio.columns == columns
    assert cfg.receptive_field == PRESETS[name].receptive_field == cfg.vision.temporal_window - 1


@pytest.mark.parametrize(("window", "columns", "overlap", "frames"), [(1, 4, 4, 2), (2, 4, 6, 3), (9, 4, 4, 8)])
def test_a_latent_reaches_as_far_as_eye_or_ear(window, columns, overlap, frames):
    cfg = changed(vision={"temporal_window": window}, audio={"columns": columns, "overlap": overlap})
    assert cfg.receptive_field == frames
