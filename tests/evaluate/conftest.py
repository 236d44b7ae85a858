"""Real Pong with the console's memory as truth, recorded once for a run of the tests."""

from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

SEEDS, STEPS = (11, 12, 13), 800
WHITE = (236, 236, 236)


@dataclass
class Pong:
    """Episodes of `STEPS` steps of two emulator frames, one after the other."""

    video: np.ndarray  # (T, 128, 128, 3) uint8
    audio: np.ndarray  # (T, 1024) float32
    ram: np.ndarray  # (T, 128) int
    white: np.ndarray  # (T,) white pixels of the console's picture between the borders: 8 for a whole ball
    reward: np.ndarray  # (T,)

    @property
    def ball(self) -> np.ndarray:
        """Centre (T, 2) in pixels of 128 by RAM."""
        return np.stack([(self.ram[:, 49] - 49 + 1) * 128 / 160, (self.ram[:, 54] - 14 + 2) * 128 / 210], -1)

    def paddle(self, side: str) -> np.ndarray:
        """Centre (T,) in pixels of 128 by RAM. The player's picture lags its byte by a row in every other frame."""
        top = self.ram[:, 51] - 13.5 if side == "player" else self.ram[:, 50] - 15
        return (top + 8) * 128 / 210


@pytest.fixture(scope="session")
def pong_truth() -> Pong:
    import ale_py
    import gymnasium

    gymnasium.register_envs(ale_py)
    parts = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        env = gymnasium.make("ALE/Pong-v5", frameskip=1, sound_obs=True, repeat_action_probability=0.0)
        env.reset(seed=seed)
        ale = env.unwrapped.ale  # type: ignore[attr-defined]
        for _ in range(STEPS):
            ram = ale.getRAM()
            behind = int(ram[54]) - int(ram[51]) - 4  # a ball follower, often distracted
            action = 0 if abs(behind) < 3 else (3 if behind > 0 else 2)
            action = int(rng.choice([0, 2, 3])) if rng.random() < 0.3 else action
            steps = [env.step(action) for _ in range(2)]
            picture = steps[1][0]["image"]
            small = np.asarray(Image.fromarray(picture).resize((128, 128), Image.Resampling.BOX))
            sound = np.concatenate([s[0]["sound"] for s in steps])
            white = (picture[34:194] == WHITE).all(-1).sum()
            parts.append((small, sound, ale.getRAM().astype(int), white, sum(float(s[1]) for s in steps)))
        env.close()
    video, sound, ram, white, reward = (np.array(x) for x in zip(*parts, strict=True))
    return Pong(video, ((sound.astype(np.float32) - 128) / 128), ram, white, reward)


def roughen(video: np.ndarray, seed: int, noise: float = 3, gain: float = 1.05) -> np.ndarray:
    """What a mediocre decoder does: blur of 3 x 3, a wrong gain, noise (standard deviation in levels)."""
    x = np.pad(video.astype(np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    x = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    x = (x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]) / 9 * gain
    x += np.random.default_rng(seed).standard_normal(x.shape, np.float32) * noise
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def rough(pong_truth: Pong) -> np.ndarray:
    return np.concatenate([roughen(part, seed) for seed, part in enumerate(np.split(pong_truth.video, 8))])
