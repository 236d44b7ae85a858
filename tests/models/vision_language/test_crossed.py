"""Layers that attend to pictures, NVLM-X and -H, and PaLM-E's sensors: what must and must not change what is said."""

import dataclasses
import importlib

import numpy as np
import pytest

from mlxworld.configs.block import BlockConfig
from mlxworld.configs.vision import ProjectorConfig, TowerConfig, VisionConfig
from mlxworld.configs.vision_language import DecoderConfig, RopeConfig, SensorConfig, VisionLanguageConfig, crossed
from mlxworld.text.generate import Generator, Options, Pictures
from mlxworld.text.prompt import by_kind, prompt, tiled

BLOCK = BlockConfig(32, 4, hidden=64, kv_heads=2, qk_norm="none")
WORDS = DecoderConfig(BLOCK, ("full",) * 3, vocab=64)
TOWER = TowerConfig(
    BlockConfig(24, 2, hidden=48, qk_norm="none", gated=False), depth=2, patch=4, size=16, class_token=False, keep="all"
)
SEES = VisionConfig(TOWER, ProjectorConfig(24, 32, hidden=32, side=2, reduce="merge"), pack="plain")
SIZE, TAGS, WHOLE = 4, (60, 61, 62), 63  # tokens of a tile, and what tells tiles
LAYERS = crossed(WORDS, 2)
X = VisionLanguageConfig(LAYERS, dataclasses.replace(SEES, pack="tokens"))
H = dataclasses.replace(X, hybrid=True)
ROW = [1, 60, 61, 62, 7, 8, 9]


def model(backend, cfg, gates=0.7):
    net = importlib.import_module(f"{backend.__name__}.models.vision_language").Model(cfg)
    net.init(backend.random.key(3))
    names = [name for name in backend.nn.parameters(net) if name.rpartition(".")[2] in ("gate1", "gate2")]
    shapes = {name: backend.nn.parameters(net)[name].shape for name in names}
    backend.nn.assign(net, {name: backend.ops.full(shape, gates) for name, shape in shapes.items()})
    return Generator(backend, backend.engine.place(net))


def tiles(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 16, 16, 3)).astype(np.float32)


def said(generator, rows, x, whole=None):
    return generator.logits(tiled(rows, TAGS, SIZE, whole), Pictures({"pixels": x}))


def differ(a, b):
    """At which tokens of a row two answers differ."""
    return np.abs(a - b).max(axis=-1) > 1e-5


def test_shut_gates_leave_the_words_alone(backend):
    open_, shut = model(backend, X), model(backend, X, gates=0.0)
    x = tiles(3)
    alone = shut.logits(prompt([ROW]))
    assert np.array_equal(said(shut, [ROW], x), alone)
    assert differ(said(open_, [ROW], x), alone).all()  # the first token sees nothing, but has their MLP


def test_a_tile_is_seen_by_its_tag_and_by_what_follows(backend):
    generator, x = model(backend, X), tiles(3)
    first = said(generator, [ROW], x)
    for tile in range(3):
        changed = x.copy()
        changed[tile] = tiles(1, seed=9)[0]
        assert differ(first, said(generator, [ROW], changed))[0].tolist() == [t > tile for t in range(7)]


def test_the_order_of_tiles_is_told_by_their_tags_alone(backend):
    generator, x = model(backend, X), tiles(3)
    arrays = tiled([ROW], TAGS, SIZE)
    arrays["seen"][:, :4] = False  # the tags see nothing: then no token knows which tile is which
    first = generator.logits(arrays, Pictures({"pixels": x}))
    turned = generator.logits(arrays, Pictures({"pixels": x[[2, 0, 1]]}))
    assert not differ(first, turned).any()
    assert differ(said(generator, [ROW], x), said(generator, [ROW], x[[2, 0, 1]])).any()


def test_ragged_rows_of_tiles_are_rows_alone_and_steps_are_whole_rows(backend):
    generator, x = model(backend, X), tiles(5)
    rows = [ROW, [1, 60, 61, 5]]
    together = said(generator, rows, x)
    assert np.abs(together[1, 3:] - said(generator, rows[1:], x[3:])[0]).max() < 1e-5
    assert np.abs(together[0] - said(generator, rows[:1], x[:3])[0]).max() < 1e-5
    tokens = generator.tokens(tiled(rows, TAGS, SIZE), Pictures({"pixels": x}), Options(6))
    for i, row in enumerate(tokens):
        longer = tiled([[*rows[i], *row]], TAGS, SIZE)
        own = x[:3] if i == 0 else x[3:]
        logits = generator.logits(longer, Pictures({"pixels": own}))[0, len(rows[i]) - 1 : -1]
        assert logits.argmax(-1).tolist() == row or set(row) & set(TAGS)  # a written tag would be another tile


def test_a_hybrid_has_the_whole_among_the_words(backend):
    """NVLM-H: the thumbnail's features in the stream, the tiles attended to."""
    generator, x = model(backend, H), tiles(3)
    row = [1, 60, 61, WHOLE, *[-1] * SIZE, 7, 8]
    first = said(generator, [row], x, WHOLE)
    changed = x.copy()
    changed[2] = tiles(1, seed=9)[0]  # the whole
    assert differ(first, said(generator, [row], changed, WHOLE))[0].tolist() == [t > 3 for t in range(len(row))]
    changed = x.copy()
    changed[1] = tiles(1, seed=9)[0]
    assert differ(first, said(generator, [row], changed, WHOLE))[0].tolist() == [t > 1 for t in range(len(row))]
    shut = model(backend, H, gates=0.0)
    assert not differ(said(shut, [row], x, WHOLE), said(shut, [row], changed, WHOLE)).any()


SENSES = (SensorConfig("state", 6, 16, tokens=2), SensorConfig("objects", 5, 16))
PALM = dataclasses.replace(
    WORDS,
    block=dataclasses.replace(BLOCK, order="parallel", norm="layer", kv_heads=1),
    rope=RopeConfig(interleaved=True),
)
E = VisionLanguageConfig(PALM, SEES, sensors=SENSES)
PICTURE, STATE, OBJECT = 50, 51, 52


def sentence(*, turned=False):
    """Words, a state, a picture, three objects, another state: anything between words, in any order."""
    rng = np.random.default_rng(1)
    row = [1, STATE, STATE, 4, *[PICTURE] * SIZE, 5, OBJECT, OBJECT, OBJECT, 6, STATE, STATE, 7]
    arrays = {"pixels": tiles(1), "state": rng.normal(size=(2, 6)).astype(np.float32)}
    arrays |= {"objects": rng.normal(size=(1, 3, 5)).astype(np.float32)}
    if turned:
        arrays["state"] = arrays["state"][::-1].copy()
    read = by_kind(prompt([row], (PICTURE, STATE, OBJECT)), (PICTURE, STATE, OBJECT))
    return read, arrays


def test_sensors_and_pictures_stand_where_their_placeholders_do(backend):
    """PaLM-E: what the decoder reads is the table's rows, with each encoder's tokens in the places of its kind."""
    generator = model(backend, E)
    read, arrays = sentence()
    given = backend.engine.array(read), backend.engine.array(arrays), ()
    net, numpy = generator.model, backend.engine.numpy
    with backend.engine.inference():
        x = numpy(net._read(*given)[0])[0]
        features = {"pixels": numpy(net.vision(given[1], ()))}
        features |= {sensor.name: numpy(sensor(given[1][sensor.name])) for sensor in net.sensors}
        words = numpy(net.decoder.embedded(given[0]["ids"]))[0]
    ids = read["ids"][0]
    for kind, name in ((PICTURE, "pixels"), (STATE, "state"), (OBJECT, "objects")):
        assert np.allclose(x[ids == kind], features[name], atol=1e-6)
    assert np.array_equal(x[ids < 50], words[ids < 50])
    y, turned = (generator.logits(a, Pictures(b)) for a, b in (sentence(), sentence(turned=True)))
    assert differ(y, turned)[0].tolist() == [t > 0 for t in range(len(ids))]


def test_a_sensor_may_be_missing(backend):
    generator = model(backend, E)
    read = by_kind(prompt([[1, OBJECT, 4]], (OBJECT,)), (PICTURE, STATE, OBJECT))
    y = generator.logits(read, Pictures({"objects": np.ones((1, 1, 5), np.float32)}))
    assert differ(y, generator.logits(read, Pictures({"objects": np.zeros((1, 1, 5), np.float32)})))[0].tolist() == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("cfg", [X, H, E], ids=["x", "h", "palm-e"])
def test_both_backends_say_the_same(cfg):
    import mlxworld

    answers = []
    for name in mlxworld.BACKENDS:
        generator = model(mlxworld.on(name), cfg)
        if cfg is E:
            read, arrays = sentence()
            answers.append(generator.logits(read, Pictures(arrays)))
        else:
            answers.append(said(generator, [ROW], tiles(3)))
    assert np.abs(answers[0] - answers[1]).max() / np.abs(answers[0]).max() < 1e-5


def test_a_gradient_reaches_every_parameter():
    import torch

    import mlxworld

    backend = mlxworld.on("torch")
    for cfg in (X, E):
        net = model(backend, cfg).model
        if cfg is E:
            read, arrays = sentence()
        else:
            read, arrays = tiled([ROW], TAGS, SIZE), {"pixels": tiles(3)}
        y = net(backend.engine.array(read), backend.engine.array(arrays))
        (y * torch.cos(torch.arange(y.numel()).reshape(y.shape).float())).sum().backward()
        dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
        assert not dead, dead
