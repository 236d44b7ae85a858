"""Matrix products in bfloat16 on the CPU: the same layer to the precision of bfloat16, counted as what it is."""

import numpy as np
import pytest
import torch

from mlxworld import World
from tests.play.played import play, same, write
from torch_backend import count, nn, packed

LAID_OUT = [False, *([True] if packed.known() else [])]  # oneDNN's layout, where it has one on this chip


@pytest.mark.parametrize("laid_out", LAID_OUT)
@pytest.mark.parametrize("bias", [False, True])
def test_a_packed_layer_is_the_layer(bias, laid_out, monkeypatch):
    monkeypatch.setattr(packed, "known", lambda: laid_out)
    torch.manual_seed(0)
    layer, x = nn.Linear(96, 40, bias=bias), torch.randn(2, 1, 17, 96)
    model = torch.nn.ModuleDict({"up": layer, "last": nn.role(torch.nn.Linear(96, 8), "head")})
    with torch.no_grad():
        true = layer(x)
        packed.pack(model)
        found = model["up"](x)
    assert type(model["up"]) is packed.PackedLinear and type(model["last"]) is torch.nn.Linear
    assert found.dtype == torch.float32 and found.shape == true.shape
    assert 0 < (found - true).square().mean().sqrt() < 0.01 * true.std()


@pytest.mark.parametrize("laid_out", LAID_OUT)
def test_its_work_is_counted(laid_out, monkeypatch):
    monkeypatch.setattr(packed, "known", lambda: laid_out)
    layer, x = torch.nn.Linear(96, 40, bias=False), torch.randn(17, 96)
    found = [op for op in count.count(packed.PackedLinear(layer), x) if op[1] == "product"]
    assert [op[2] for op in found] == [2 * 17 * 96 * 40]
    assert sum(found[0][3].values()) == 2 * (17 * 96 + 96 * 40)


@pytest.mark.platform
@pytest.mark.skipif(not packed.fast(), reason="this chip does not multiply in bfloat16")
def test_a_world_plays_so_by_itself(tmp_path):
    write(tmp_path)
    plain, world = World.load(tmp_path, "torch", precision="float32"), World.load(tmp_path, "torch")
    assert world.precision == "bfloat16"
    assert World.load(tmp_path, "torch", weights="int8").precision == "float32"
    for w in (plain, world):
        w.reset(seed=3)
    moment, (video, sound) = world.snapshot(), play(world)
    true, _ = play(plain)
    assert 0 < np.abs(video[:4].astype(int) - true[:4]).mean() < 2
    world.restore(moment)
    assert same(play(world), (video, sound))
