"""What every rank of a test of distributed training runs, under torchrun or mlx.launch: ranks.py BACKEND OUT [FLAG ...]

Rank 0 writes the loss of each step, and what was trained, to OUT/CASE.safetensors. Then the ranks begin
`mlxworld train FLAG ...`, where there are any, and rank 0 dies as it has written its second checkpoint.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

import mlxworld
from mlxworld import train as mlxworld_train
from mlxworld.configs.optim import OptimConfig
from mlxworld.files import checkpoint
from mlxworld.training.turn import Turn

STEPS, PARTS, B = 50, 2, 4
CASES = {
    "adamw": ("adamw", False),
    "muon": ("muon", False),
    "adamw-sharded": ("adamw", True),
    "muon-sharded": ("muon", True),
}


def trainer(package, optim: str, sharded: bool):
    """Of a small network with layers in a list (7 x 5: cut unevenly), a buffer that its loss assigns, and noise."""
    nn, ops, random = package.nn, package.ops, package.random

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(5, 7), nn.role(nn.Linear(7, 5), "residual")

        def forward(self, x):
            return x + self.down(ops.silu(self.up(x)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", ops.zeros((5,)))
            self.inside, self.layers, self.head = nn.Linear(3, 5), [Layer(), Layer()], nn.Linear(5, 3)

        def forward(self, x):
            x = self.inside(x)
            for layer in self.layers:
                x = layer(x)
            return self.head(x)

    def loss(model, batch, key):
        noise = random.normal(key, batch["x"].shape)
        error = ops.square(model(batch["x"] + 0.1 * noise) - batch["y"]).mean()
        model.seen = ops.stop_gradient(0.9 * model.seen + batch["x"].mean())
        return error, {"error": error}

    model, key = Net(), random.key(5)
    for name, p in nn.parameters(model).items():
        key, own = random.split(key)
        nn.assign(model, {name: 0.5 * random.normal(own, p.shape)})
    turns = [Turn("all", loss, OptimConfig(name=optim, lr=1e-2, weight_decay=0.1, clip=1.0, ema=0.9))]
    return package.engine.Trainer(model, turns, accumulate=PARTS, sharded=sharded)


def batch(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    x = rng.normal(size=(B, 3)).astype(np.float32)
    return {"x": x, "y": np.sin(3 * x)}


def train(package, case: str, steps=range(STEPS), state=None):
    """Losses of the steps, and the trainer's state after them."""
    t = trainer(package, *CASES[case])
    if state is not None:
        t.load_state(state)
    rows = [package.engine.numpy(t.step(batch(step), step)) for step in steps]
    return {name: np.array([float(r[name]) for r in rows]) for name in ("loss", "grad_norm")}, t.state()


def main() -> None:
    package, out, flags = mlxworld.on(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    assert package.engine.ranks() == PARTS
    for case in CASES:
        if sys.argv[1] == "torch" or not CASES[case][1]:
            half, saved = train(package, case, range(STEPS // 2))
            rest, state = train(package, case, range(STEPS // 2, STEPS), saved)
            if package.engine.rank() == 0:
                curves = {name: np.concatenate([half[name], rest[name]]) for name in half}
                saved = {f"half.{name}": x for name, x in saved.items()}
                checkpoint.save(out / f"{case}.safetensors", curves | saved | state)
    if flags:
        checkpoint.save = dying(checkpoint.save)
        mlxworld_train.main(flags)


def dying(save):
    """`checkpoint.save` whose process is killed when it has written a training's second checkpoint."""
    written = []

    def counted(path, *args, **options):
        save(path, *args, **options)
        written.append(Path(path).name == "checkpoint.safetensors")
        if sum(written) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    return counted


if __name__ == "__main__":
    main()
