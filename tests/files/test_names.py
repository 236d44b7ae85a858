"""Name tables: what is read can be written again, nothing is lost in silence, nothing is read before it is wanted."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxworld import MlxworldError
from mlxworld.files import checkpoint, layouts, names
from mlxworld.files.layouts import plain_torch
from mlxworld.files.names import Join, Kernel, Transpose
from mlxworld.files.weights import Entry, Weights

TABLE: names.Table = {
    "model.layers.{}.attn.q_proj.weight": Join("blocks.{}.qkv.weight", 0, (4, 1, 1)),
    "model.layers.{}.attn.k_proj.weight": Join("blocks.{}.qkv.weight", 1, (4, 1, 1)),
    "model.layers.{}.attn.v_proj.weight": Join("blocks.{}.qkv.weight", 2, (4, 1, 1)),
    "model.layers.{}.mlp.up.weight": Join("blocks.{}.up.weight", 1, (1, 1), axis=1),
    "model.layers.{}.mlp.gate.weight": Join("blocks.{}.up.weight", 0, (1, 1), axis=1),
    "model.layers.{}.experts.{}.w": Transpose("blocks.{}.experts.{}.weight"),
    "model.layers.{}.rotary": None,
    "model.patch.weight": Kernel("embed.weight"),
    "model.norm": "norm.weight",
    "model.gamma": "norm.weight",  # an older name of the same
}


def foreign(layers=2, dtype=np.float32):
    count = iter(range(10**6))

    def array(*shape):
        return np.array([next(count) % 100 for _ in range(int(np.prod(shape)))]).reshape(shape).astype(dtype)

    arrays = {"model.norm": array(3), "model.patch.weight": array(4, 3, 2, 5)}
    for i in range(layers):
        at = f"model.layers.{i}"
        arrays |= {f"{at}.attn.{n}_proj.weight": array(size, 3) for n, size in (("v", 2), ("q", 8), ("k", 2))}
        arrays |= {f"{at}.mlp.{n}.weight": array(2, 3) for n in ("up", "gate")}
        arrays |= {f"{at}.experts.{j}.w": array(2, 3) for j in range(2)}
    return arrays


def refuses(line, call, *args, **options):
    with pytest.raises(MlxworldError) as failure:
        call(*args, **options)
    assert str(failure.value) == line


def test_every_value_of_a_table():
    theirs = foreign()
    ours = names.to_ours(theirs | {"model.layers.0.rotary": np.zeros(1)}, TABLE, "x")
    parts = [theirs[f"model.layers.1.attn.{n}_proj.weight"] for n in "qkv"]
    np.testing.assert_array_equal(ours["blocks.1.qkv.weight"], np.concatenate(parts))
    halves = [theirs[f"model.layers.0.mlp.{n}.weight"] for n in ("gate", "up")]
    np.testing.assert_array_equal(ours["blocks.0.up.weight"], np.concatenate(halves, 1))
    np.testing.assert_array_equal(ours["blocks.1.experts.0.weight"], theirs["model.layers.1.experts.0.w"].T)
    np.testing.assert_array_equal(ours["embed.weight"], theirs["model.patch.weight"].transpose(0, 2, 3, 1))
    assert ours["norm.weight"] is theirs["model.norm"]
    assert len(ours) == 10 and {n: x.shape for n, x in ours.items()} == ours.shapes
    assert names.to_ours({"model.gamma": np.ones(3)}, TABLE, "x").shapes == {"norm.weight": (3,)}


@pytest.mark.parametrize("dtype", ["f4", "f2", "u4"])
def test_there_and_back_through_files(tmp_path, dtype):
    theirs = foreign(dtype=dtype)
    checkpoint.save(tmp_path / "model.safetensors", theirs, shard_bytes=200)
    ours = names.to_ours(checkpoint.open(tmp_path), TABLE, "x")
    checkpoint.save(tmp_path / "ours" / "model.safetensors", ours, shard_bytes=300)
    back = names.to_theirs(checkpoint.open(tmp_path / "ours"), TABLE, "x")
    assert set(back) == set(theirs)
    for name, x in theirs.items():
        assert back[name].dtype == x.dtype and back.shapes[name] == x.shape and back[name].tobytes() == x.tobytes()


VALUES = st.one_of(
    st.just("same"), st.just("kernel"), st.just("transpose"), st.lists(st.integers(1, 4), min_size=1, max_size=4)
)


@given(st.lists(st.tuples(VALUES, st.integers(0, 2), st.integers(0, 1)), max_size=6), st.randoms())
def test_what_a_table_reads_it_writes(kinds, random):
    """Tables of any values, any number of layers and any order of the arrays."""
    table, theirs, draw = {}, {}, np.random.default_rng(random.randint(0, 99))
    for i, (kind, layers, axis) in enumerate(kinds):
        mark = ".{}" * layers
        numbers = [(3, 10)[:layers], (12, 1)[:layers]] if layers else [()]
        if isinstance(kind, list):
            keys = {f"t{i}{mark}.{part}": Join(f"o{i}{mark}", part, tuple(kind), axis) for part in range(len(kind))}
            shapes = [(2 * share, 3) if axis == 0 else (3, 2 * share) for share in kind]
        else:
            ours = {"same": f"o{i}{mark}", "kernel": Kernel(f"o{i}{mark}"), "transpose": Transpose(f"o{i}{mark}")}
            keys, shapes = {f"t{i}{mark}": ours[kind]}, [{"kernel": (2, 3, 4, 5), "transpose": (2, 3)}.get(kind, (2,))]
        table |= keys
        for key, shape in zip(keys, shapes, strict=True):
            theirs |= {key.replace("{}", "%d") % at: draw.standard_normal(shape) for at in numbers}
    order = list(theirs)
    random.shuffle(order)
    ours = names.to_ours({name: theirs[name] for name in order}, table, "x")
    back = names.to_theirs(ours, table, "x")
    assert set(back) == set(theirs) and {n: x.shape for n, x in back.items()} == back.shapes
    assert all(np.array_equal(back[name], x) for name, x in theirs.items())
    again = names.to_ours(back, table, "x")
    assert set(again) == set(ours) and all(np.array_equal(again[name], ours[name]) for name in ours)


def test_nothing_is_read_before_it_is_asked_for():
    read = []

    def entry(name, x):
        return Entry(x.shape, x.dtype, lambda: read.append(name) or x)

    theirs = Weights({name: entry(name, x) for name, x in foreign().items()}, {"a": "b"})
    ours = names.to_ours(theirs, TABLE, "x", expected=["norm.weight"])
    back = names.to_theirs(ours, TABLE, "x")
    checkpoint.check(ours.shapes, ours, "x")
    assert not read and ours.metadata == back.metadata == {"a": "b"}
    _ = ours["blocks.0.qkv.weight"]
    assert read == [f"model.layers.0.attn.{n}_proj.weight" for n in "qkv"]


def test_what_is_unknown_or_missing_is_named():
    theirs = foreign()
    foreigners = {f"odd.{i}\x1b": np.zeros(1) for i in range(5)}
    rest = r"'odd.0\x1b', 'odd.1\x1b', 'odd.2\x1b' and 2 more"
    refuses(f"x holds arrays that have no place here: {rest}", names.to_ours, theirs | foreigners, TABLE, "x")
    refuses(
        "x holds arrays that have no name in this layout: 'model.norm'",
        names.to_theirs,
        {"model.norm": np.zeros(3)},
        TABLE,
        "x",
    )
    del theirs["model.layers.1.attn.k_proj.weight"]
    line = "x lacks 'model.layers.1.attn.k_proj.weight', 'head.weight'"
    refuses(line, names.to_ours, theirs, TABLE, "x", expected=["norm.weight", "head.weight"])
    refuses(
        "x: two arrays would be named 'norm.weight'",
        names.to_ours,
        theirs | {"model.gamma": np.zeros(3), "model.layers.1.attn.k_proj.weight": np.zeros((2, 3), np.float32)},
        TABLE,
        "x",
    )


@pytest.mark.parametrize(
    ("name", "shape", "line"),
    [
        ("model.patch.weight", (3, 4), "x: 'model.patch.weight' is (3, 4), and no convolution's weight"),
        ("model.layers.0.experts.0.w", (3,), "x: 'model.layers.0.experts.0.w' is (3,), and no matrix"),
        (
            "model.layers.0.attn.q_proj.weight",
            (4, 3),
            "x: the parts of 'blocks.{}.qkv.weight' do not fit together: "
            "(4, 3) float32, (2, 3) float32, (2, 3) float32",
        ),
        (
            "model.layers.0.attn.q_proj.weight",
            (8, 4),
            "x: the parts of 'blocks.{}.qkv.weight' do not fit together: "
            "(8, 4) float32, (2, 3) float32, (2, 3) float32",
        ),
        (
            "model.layers.0.mlp.up.weight",
            (2,),
            "x: the parts of 'blocks.{}.up.weight' do not fit together: (2, 3) float32, (2,) float32",
        ),
    ],
)
def test_shapes_that_a_table_cannot_have(name, shape, line):
    refuses(line, names.to_ours, foreign() | {name: np.zeros(shape, np.float32)}, TABLE, "x")


def test_an_array_that_cannot_be_parted():
    line = "x: 'blocks.0.qkv.weight' is (8, 2): axis 0 is no 6 equal pieces"
    refuses(line, names.to_theirs, {"blocks.0.qkv.weight": np.zeros((8, 2))}, TABLE, "x")


def test_a_partial_table_leaves_the_other_names(tmp_path):
    arrays = {"a.{}": np.ones(1), "b.1": np.ones(2), "c": np.ones(3)}
    ours = names.to_ours(arrays, {"b.{}": "d.{}.{0.__class__}"}, "x", partial=True)
    assert ours.shapes == {"a.{}": (1,), "d.1.{0.__class__}": (2,), "c": (3,)}
    assert names.to_theirs(ours, {"b.{}": "d.{}.{0.__class__}"}, "x", partial=True).shapes == Weights.of(arrays).shapes


def test_a_layer_number_is_a_number():
    for name in ("b.x", "b.", "b.1.2", "b.\u0661", "b.1\n"):
        with pytest.raises(MlxworldError, match="no place here"):
            names.to_ours({name: np.ones(1)}, {"b.{}": "d.{}"}, "x")


def test_plain_torch_is_a_table_that_reads_and_writes():
    weight = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    ours = names.to_ours({"tokenizer.audio_encoder.conv1.weight": weight}, plain_torch.TABLE, "x", partial=True)
    assert ours.shapes == {"tokenizer.audio_encoder.conv1.weight": (2, 4, 3)}
    back = names.to_theirs(ours, plain_torch.TABLE, "x", partial=True)
    np.testing.assert_array_equal(back["tokenizer.audio_encoder.conv1.weight"], weight)


def test_settings_under_other_names():
    config = {"dim": 1, "old": {"memory": 2, "rest": [3]}, "gone": {"x": 1}}
    before = json.dumps(config)
    table = {"old.memory": "new.kv.window", "gone": None, "absent.x": "y", "dim": "old.dim", "dim.x": "z"}
    after = {"old": {"rest": [3], "dim": 1}, "new": {"kv": {"window": 2}}}
    assert names.renamed(config, table, "x") == after and json.dumps(config) == before
    back = {"new.kv.window": "old.memory", "old.dim": "dim", "new": None}
    assert names.renamed(after, back, "x") == {"dim": 1, "old": {"memory": 2, "rest": [3]}}
    refuses("x: 'b' is there under two names", names.renamed, {"a": 1, "b": 2}, {"a": "b"}, "x")
    refuses("x: 'b.c' has no place: 'b' holds no settings", names.renamed, {"a": 1, "b": 2}, {"a": "b.c"}, "x")
    assert names.renamed({"a": 1, "b": 2}, {"a": "b", "b": "a"}, "x") == {"b": 1, "a": 2}


def test_an_old_format_is_read_under_new_names(monkeypatch, tmp_path):
    """Each format that has a module leads to the next; quantised layers go with their weights."""
    (tmp_path / "toy_1.py").write_text(
        'CONFIG = {"model.memory": "model.window"}\n'
        'WEIGHTS = {"blocks.{}.fc.weight": "layers.{}.up.weight", "freqs": None}\n'
    )
    (tmp_path / "toy_3.py").write_text(
        'CONFIG = {"model.window": "window"}\nWEIGHTS = {"layers.{}.up.weight": "parts.{}.up.weight"}\n'
    )
    monkeypatch.setattr(layouts, "FORMAT", 4)
    monkeypatch.setattr(layouts, "__path__", [*layouts.__path__, str(tmp_path)])
    weights = {f"blocks.7.fc.{part}": np.ones(1) for part in ("weight", "scales", "biases")} | {"freqs": np.ones(1)}
    config, arrays = layouts.upgrade(1, "toy", {"model": {"memory": 3}}, weights)
    assert config == {"model": {}, "window": 3}
    assert sorted(arrays) == [f"parts.7.up.{part}" for part in ("biases", "scales", "weight")]
    assert layouts.upgrade(4, "toy", {"model": {"memory": 3}}, weights) == ({"model": {"memory": 3}}, weights)
    assert layouts.upgrade(1, "other", {"a": 1}, weights) == ({"a": 1}, weights)
    assert layouts.upgrade_config(1, "../toy_1", {"a": 1}) == {"a": 1}


def test_parts_of_packed_layers_go_where_their_weights_go():
    table = {
        "a.q.weight": names.Join("b.qkv.weight", 0, (1, 1)),
        "a.k.weight": names.Join("b.qkv.weight", 1, (1, 1)),
        "gated.weight": names.Swapped("up.weight"),
        "head.weight": None,  # tied: the table has it
        "patch.weight": names.Kernel("patch.weight"),
    }
    packed = names.with_packed(table)
    theirs = {f"{layer}.{part}": np.full((2, 3), i) for i, layer in enumerate(("a.q", "a.k", "gated", "head"))
              for part in ("weight", "scales", "biases")}  # fmt: skip
    theirs["gated.scales"] = np.arange(6).reshape(2, 3)
    ours = names.to_ours(theirs, packed, "a file")
    assert set(ours) == {f"{layer}.{part}" for layer in ("b.qkv", "up") for part in ("weight", "scales", "biases")}
    assert (ours["b.qkv.scales"] == [[0] * 3] * 2 + [[1] * 3] * 2).all()
    assert (ours["up.scales"] == np.arange(6).reshape(2, 3)[::-1]).all()
    assert "patch.scales" not in packed
    back = names.to_theirs(ours, packed, "a file")
    assert all((back[n] == theirs[n]).all() for n in theirs if not n.startswith("head"))
