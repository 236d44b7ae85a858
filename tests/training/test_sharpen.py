"""The stage in which the decoder of pictures learns from a critic, which is not kept."""

import numpy as np
import pytest

import mlxworld
from mlxworld import train
from mlxworld.files import checkpoint
from tests.training import tiny


@pytest.fixture(scope="module")
def dots(tmp_path_factory):
    return tiny.dots(tmp_path_factory.mktemp("data") / "dots")


def run(data, out, backend, *more: str, **changed) -> dict[str, np.ndarray]:
    settings = {"backend": backend, "forcing.steps": 0, "sharpen.batch": 2, "sharpen.frames": (4,), **changed}
    train.main(["--data", str(data), "--out", str(out), *tiny.argv(**settings), *more])
    return dict(checkpoint.open(out).items())


@pytest.mark.parametrize("backend", mlxworld.BACKENDS)
def test_the_decoder_alone_learns_and_the_critic_is_gone(dots, tmp_path, backend):
    plain = run(dots, tmp_path / "plain", backend)
    sharp = run(dots, tmp_path / "sharp", backend, **{"sharpen.steps": 4, "sharpen.lr": 0.01})
    assert set(sharp) == set(plain)
    moved = {name for name, x in sharp.items() if not np.array_equal(x, plain[name])}
    decoder = ("tokenizer.video_processor.", "tokenizer.video_decoder.")
    assert moved and all(name.startswith(decoder) for name in moved)
    matrices = {n for n, x in plain.items() if n.startswith(decoder) and x.ndim > 1}
    assert matrices <= moved
    state = checkpoint.open(tmp_path / "sharp" / "checkpoint.safetensors")
    assert any("tokenizer.critic." in name for name in state)
    mlxworld.World.load(str(tmp_path / "sharp"), backend).reset(0)


def test_a_world_is_sharpened_on_its_own(dots, tmp_path):
    """From a world, without its other stages; and what was saved on the way goes on with its critic."""
    before = run(dots, tmp_path / "world", "torch")
    only = {"tokenizer.steps": 0, "dynamics.steps": 0, "sharpen.steps": 4, "save-minutes": 0}
    whole = run(dots, tmp_path / "whole", "torch", "--from", str(tmp_path / "world"), **only)
    same = [n for n in before if np.array_equal(before[n], whole[n])]
    assert "dynamics.head.weight" in same and "tokenizer.video_decoder.head.weight" not in same

    stopped = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        from mlxworld.training.run import Run

        keep = Run._keep

        def stopping(self, index, step):
            keep(self, index, step)
            if step == 2:
                raise KeyboardInterrupt

        patch.setattr(Run, "_keep", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(dots, stopped, "torch", "--from", str(tmp_path / "world"), **only)
    resumed = run(dots, stopped, "torch", "--from", str(tmp_path / "world"), "--resume", **only)
    assert all(np.array_equal(whole[n], resumed[n]) for n in whole)


def test_both_backends_lose_alike(dots):
    from tests.models.small import SMALL, clip, lively, module

    losses = {}
    for name in mlxworld.BACKENDS:
        backend = mlxworld.on(name)
        net = lively(backend, SMALL).tokenizer
        net.critic = module(backend, "objectives.adversarial").PatchCritic((4, 8))
        module(backend, "blocks").init_weights(net.critic, backend.random.key(3), 1)
        batch, key = backend.engine.array(clip(frames=3)), backend.random.key(5)
        rooms = module(backend, "openworld.losses")
        parts = rooms.sharpen_loss(net, batch, key, 0.5), rooms.critic_loss(net, batch, key)
        losses[name] = [float(backend.engine.numpy(x)) for loss, more in parts for x in (loss, *more.values())]
    first, second = losses.values()
    assert np.allclose(first, second, rtol=1e-3) and np.isfinite(first).all()
