"""What holds for every vision part, whatever its weights: gradients, fresh weights, precisions, names both ways."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

import mlxworld
from mlxworld.configs.block import BlockConfig
from mlxworld.configs.vision import (
    DualEncoderConfig,
    ProjectorConfig,
    ResamplerConfig,
    TextEncoderConfig,
    TowerConfig,
    VisionConfig,
)
from mlxworld.errors import MlxworldError
from mlxworld.files.layouts import open_clip, vision
from mlxworld.files.names import to_ours, to_theirs
from tests.images.test_published import CONFIGS
from tests.models.small import gradients, weights

VIT = BlockConfig(32, 2, norm="layer", qkv_bias=True, bias=True, qk_norm="none", gated=False, act="quick_gelu")
CLIP = TowerConfig(VIT, 2, size=28, pre_norm=True)
PLAIN = ProjectorConfig(32, 24, hidden=40)
PARTS = {
    "plain": (VisionConfig(CLIP, PLAIN), {"pixels": (2, 28, 28, 3)}, ()),
    "anyres": (VisionConfig(CLIP, PLAIN, pack="anyres"), {"pixels": (3, 28, 28, 3)}, ((1, 2, 0, 2, 1, 3),)),
    "pages": (
        VisionConfig(CLIP, replace(PLAIN, side=2, reduce="merge"), pack="pages"),
        {"pixels": (3, 28, 28, 3)},
        ((2, 1),),
    ),
    "grids": (
        VisionConfig(
            replace(CLIP, size=0, class_token=False, keep="all", frames=2),
            replace(PLAIN, side=2, reduce="merge", norm="before"),
            pack="grids",
        ),
        {"pixels": (24 + 4, 1176)},
        ((2, 2, 6), (1, 2, 2)),
    ),
    "order": (
        VisionConfig(
            replace(CLIP, taps=(2, 1)),
            ProjectorConfig(
                64, 24, 40, 2, "attention", gated=True, heads=2, kv_heads=1, head_dim=16, pooled=32, padding_embed=True
            ),
            pack="order",
        ),
        {"pixels": (3, 28, 28, 3), "shown": (3, 4), "order": (2,)},
        (),
    ),
    "tiles": (
        VisionConfig(
            replace(CLIP, tiles=4, global_depth=1, taps=(1,), keep="all"), ProjectorConfig(64, 24), pack="tiles"
        ),
        {"pixels": (2, 4, 28, 28, 3), "shape_ids": (2,), "tile_mask": (2, 4)},
        (),
    ),
    "tokens": (
        VisionConfig(
            replace(CLIP, keep="all"),
            resampler=ResamplerConfig(replace(VIT, qkv_bias=False, bias=False, act="relu"), 2, 3),
            pack="tokens",
        ),
        {"pixels": (2, 28, 28, 3)},
        (),
    ),
}


def given(shapes):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    special = {
        "order": np.array([2, 0], np.int32),
        "shape_ids": np.array([1, 6], np.int32),
        "tile_mask": np.array([[1, 0, 0, 0], [1, 1, 1, 1]], np.float32),
        "shown": np.array([[0, 1, 0.5, 1]] * 3, np.float32),
    }
    return arrays | {name: x for name, x in special.items() if name in arrays}


def build(backend, cfg):
    net = importlib.import_module(f"{backend.__name__}.models.vision_language.vision").Vision(cfg)
    backend.engine.place(net)
    backend.engine.load_parameters(net, weights(backend, net), "the test")
    return net


def seen(backend, net, arrays, layout):
    with backend.engine.inference():
        return backend.engine.numpy(net({k: backend.engine.array(v) for k, v in arrays.items()}, layout))


@pytest.mark.parametrize("pack", PARTS)
def test_both_backends_give_the_same(pack):
    cfg, shapes, layout = PARTS[pack]
    ours, theirs = (
        seen(backend, build(backend, cfg), given(shapes), layout) for backend in map(mlxworld.on, ("mlx", "torch"))
    )
    assert np.abs(theirs).max() > 0.1 and np.abs(ours - theirs).max() / np.abs(theirs).max() < 1e-5


@pytest.mark.parametrize("pack", PARTS)
def test_a_gradient_reaches_every_parameter(backend, pack):
    cfg, shapes, layout = PARTS[pack]

    def loss(net, batch, key):
        y = net(batch, layout)
        return (y * backend.ops.cos(y)).mean(), {}

    slopes = gradients(backend, build(backend, cfg), loss, given(shapes))
    assert set(slopes) == set(backend.engine.parameters(build(backend, cfg)))
    assert all(np.abs(g).max() > 1e-9 for g in slopes.values()), [n for n, g in slopes.items() if not g.any()]


@pytest.mark.parametrize("pack", PARTS)
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_stays_in_its_type_and_near(backend, pack, precision):
    cfg, shapes, layout = PARTS[pack]
    net = build(backend, cfg)
    whole = seen(backend, net, given(shapes), layout)
    net = backend.engine.cast(net, precision)
    arrays = {k: backend.engine.array(v) for k, v in given(shapes).items()}
    with backend.engine.inference():
        y = net(arrays, layout)
    assert str(y.dtype).endswith(precision)
    assert np.abs(backend.engine.numpy(y) - whole).max() / np.abs(whole).max() < 0.1


def test_fresh_weights_are_the_same():
    for pack, (cfg, _, _) in PARTS.items():
        fresh = []
        for backend in map(mlxworld.on, ("mlx", "torch")):
            net = importlib.import_module(f"{backend.__name__}.models.vision_language.vision").Vision(cfg)
            blocks = importlib.import_module(f"{backend.__name__}.models.blocks")
            blocks.init_weights(net, backend.random.key(3), 2)
            fresh.append(backend.engine.numpy(backend.engine.parameters(net)))
        assert set(fresh[0]) == set(fresh[1])
        assert all(np.abs(fresh[0][n] - fresh[1][n]).max() < 1e-5 for n in fresh[0]), pack


def published_shapes(config, dual=False):
    """Arrays under their published names, made of ours: random, of the shapes that the configuration says."""
    backend = mlxworld.on("torch")
    name = "dual" if dual else "vision"
    module = importlib.import_module(f"{backend.__name__}.models.vision_language.{name}")
    net = module.DualEncoder(open_clip.config(config)) if dual else module.Vision(vision.config(config))
    ours = weights(backend, net)
    return ours if dual else {f"vision.{name}": x for name, x in ours.items()}


PERCEIVER = {"qk_layer_norms_perceiver": True, "resampler_depth": 2, "resampler_n_latents": 4}
PERCEIVER |= {"resampler_n_heads": 2, "resampler_head_dim": 16}
MORE = {
    "idefics, with a perceiver": CONFIGS["idefics"] | {"use_resampler": True, "perceiver_config": PERCEIVER},
    "nvlm_d": {
        "model_type": "NVLM_D",
        "llm_config": {"hidden_size": 16, "intermediate_size": 32},
        "vision_config": CONFIGS["internvl"]["vision_config"] | {"qk_normalization": True, "norm_type": "rms_norm"},
    },
    "phi3_v": {"model_type": "phi3_v", "hidden_size": 16, "vision_config": CONFIGS["clip"]["vision_config"]},
    "molmo": {
        "model_type": "molmo",
        "hidden_size": 16,
        "intermediate_size": 32,
        "vision_config": {"image_default_input_size": [56, 56], "image_emb_dim": 32, "image_num_heads": 2}
        | {"image_num_key_value_heads": 2, "image_num_layers": 5, "image_head_dim": 16, "image_mlp_dim": 64}
        | {"vit_layers": [-2, -4]},
    },
}


@pytest.mark.parametrize("kind", [*CONFIGS, *MORE])
def test_names_go_both_ways(kind):
    """Ours to theirs and back: the same arrays, and every one of ours has a published name."""
    config = {**CONFIGS, **MORE}[kind]
    ours, table = published_shapes(config), vision.table(config)
    theirs = to_theirs(ours, table, "ours")
    assert not any(name.startswith("vision.") for name in theirs)
    back = to_ours(theirs, table, "theirs", expected=ours)
    assert set(back) == set(ours) and all((back[name] == ours[name]).all() for name in ours)


def test_names_of_a_dual_encoder_go_both_ways():
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    text = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    cfg = {
        "vision_cfg": {"image_size": 32, "timm_proj": "linear", "sizes": sizes},
        "text_cfg": {"hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler", "sizes": text},
        "embed_dim": 16,
    }
    ours = published_shapes({"model_cfg": cfg}, dual=True)
    back = to_ours(to_theirs(ours, open_clip.table({}), "ours"), open_clip.table({}), "theirs", expected=ours)
    assert all((back[name] == ours[name]).all() for name in ours) and set(back) == set(ours)


def test_unknown_models_and_impossible_parts_are_refused():
    with pytest.raises(MlxworldError, match="'bert' has no vision part"):
        vision.config({"model_type": "bert"})
    for wrong, message in [
        (lambda: replace(CLIP, size=30), "multiple of patch"),
        (lambda: replace(CLIP, keep="some"), "keep is one of"),
        (lambda: replace(CLIP, taps=(3,)), "taps lie in"),
        (lambda: replace(CLIP, class_token=False), "keep must be all"),
        (lambda: replace(PLAIN, side=2), "needs a way to reduce"),
        (lambda: VisionConfig(CLIP, replace(PLAIN, dim=31)), "reads 31, the tower gives 32"),
        (lambda: VisionConfig(CLIP), "needs a projector"),
    ]:
        with pytest.raises(MlxworldError, match=message):
            wrong()


def test_padding_of_a_text_is_not_seen(backend):
    """A dual encoder's text alone is the text in a longer row."""
    text = TextEncoderConfig(replace(VIT, order="post", act="gelu"), 2, 40, 16, padding=0)
    models = importlib.import_module(f"{backend.__name__}.models.vision_language.dual")
    net = models.DualEncoder(DualEncoderConfig(replace(CLIP, keep="first"), text, 16, 24))
    backend.engine.place(net)
    backend.engine.load_parameters(net, weights(backend, net), "the test")
    ids = np.array([[3, 5, 7, 9]], np.int32)
    short, long, other = (
        backend.engine.numpy(net.texts(backend.engine.array(x)))
        for x in (ids, np.pad(ids, ((0, 0), (0, 3))), np.pad(ids, ((0, 0), (0, 3)), constant_values=4))
    )
    assert np.abs(short - long).max() < 1e-6 < 1e-3 < np.abs(short - other).max()


def test_patches_that_show_nothing_and_those_that_show_a_part(backend):
    """As published: one embedding for 0, the other for what is below 1 otherwise, -1 (nobody says) among it."""
    cfg = PARTS["order"][0].projector
    models = importlib.import_module(f"{backend.__name__}.models.vision_language.projector")
    net, engine = models.Projector(cfg), backend.engine
    engine.place(net)
    engine.load_parameters(net, weights(backend, net), "the test")
    padding = engine.numpy(engine.parameters(net)["padding"])
    x = np.random.default_rng(0).normal(size=(1, 2, 2, 64)).astype(np.float32)
    shown = np.array([[[0, 0.5], [1, -1]]], np.float32)
    moved = x + np.stack([padding[0], padding[1], 0 * padding[0], padding[1]]).reshape(1, 2, 2, 64)
    with engine.inference():
        ours, plain = engine.numpy([net(engine.array(x), engine.array(shown)), net(engine.array(moved))])
    assert np.abs(ours - plain).max() < 1e-5


@pytest.mark.parametrize(("side", "tokens"), [(2, 8), (3, 16), (4, 24)])
def test_tiles_are_padded_to_eight(backend, monkeypatch, side, tokens):
    """1 + 4, 1 + 9 and 1 + 16 tokens of a tile; real ones see padding, as published, so their number matters."""
    cfg, shapes, _ = PARTS["tiles"]
    cfg = replace(cfg, tower=replace(cfg.tower, size=14 * side))
    file, sizes = importlib.import_module(f"{backend.__name__}.models.vision_language.tiles"), []
    make = file.TiledTower._mask
    monkeypatch.setattr(file.TiledTower, "_mask", lambda *given: sizes.append(make(*given).shape) or make(*given))
    arrays = given({**shapes, "pixels": (2, 4, 14 * side, 14 * side, 3)})
    assert seen(backend, build(backend, cfg), arrays, ()).shape == (2, 4 * (1 + side**2), 24)
    assert [tuple(size) for size in sizes] == [(2, 1, 4 * tokens, 4 * tokens)]
