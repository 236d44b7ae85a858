"""Killed with SIGKILL at any moment, a training resumes to the same weights, bit for bit, on both backends."""

from pathlib import Path

import numpy as np
import pytest

from mlxworld.files import checkpoint
from tests.training import processes, tiny

# Where the processes of one training die, one after the other. A checkpoint is made every two steps; the stages have 6,
# 6 and 4 of them. What depends on the backend is a trainer's state: for PyTorch, slow to start, every other death.
DEATHS = [
    "mlxworld.training.worlds:open_frames:1",  # before anything has begun
    "mlxworld.training.run:Run._report:2",  # tokenizer, after 4 steps of which 2 are saved
    "pathlib:Path.replace:8",  # tokenizer, a checkpoint that is written but not yet named
    "mlxworld.play.encode:encode_window:3",  # between the stages, in the midst of the latents
    "mlxworld.training.run:Run._report:2",  # dynamics, before its curriculum changes
    "mlxworld.files.checkpoint:save:7",  # dynamics, a world that is newer than its checkpoint
    "mlxworld.recipes.openworld:Recipe._dreamt:1",  # between dynamics and forcing
    "mlxworld.recipes.openworld:Recipe._dreamt:4",  # forcing
    "mlxworld.training.run:Run.save:1",  # forcing, all steps done
]


def arrays(out: Path) -> dict[str, np.ndarray]:
    """All that a training leaves: its last state, the world's weights and its start clips, the latents."""
    found = {"latents": np.load(out / "latents.npy")}
    for name in ("checkpoint", "model", "starts"):
        found |= {f"{name}/{key}": x for key, x in checkpoint.load(out / f"{name}.safetensors")[0].items()}
    found.pop("checkpoint/seconds")
    return found


@pytest.mark.parametrize("name", ["mlx", "torch"])
def test_killed_at_any_moment_it_resumes_to_the_same_weights(name, tmp_path):
    argv = ["--data", tiny.dots(tmp_path / "dots"), "--backend", name, *tiny.argv(**{"log-steps": 2})]
    whole = processes.train("", [*argv, "--out", tmp_path / "whole"], fresh=True)
    assert whole.returncode == 0, whole.stderr[-2000:]
    argv += ["--out", tmp_path / "killed", "--save-minutes", "0"]
    for i, death in enumerate(DEATHS if name == "mlx" else DEATHS[1::2]):
        died = processes.train(death, [*argv, *(["--resume"] if i else [])])
        assert died.returncode == -9, f"{death}: {died.stderr[-2000:]}"
    last = processes.train("", [*argv, "--resume"])
    assert last.returncode == 0, last.stderr[-2000:]
    expected, found = arrays(tmp_path / "whole"), arrays(tmp_path / "killed")
    assert expected.keys() == found.keys()
    assert [n for n, x in expected.items() if x.tobytes() != found[n].tobytes()] == []
