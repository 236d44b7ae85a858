"""How much attention latent hooks get, layer by layer and head by head, while a model does what it does.

Takes a backend package and a model as values; numpy out. L layers, H heads, N clips, T frames.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np


def masses(package: ModuleType, hooked: Any, run: Callable[[], object]) -> dict[str, np.ndarray]:
    """{hook: (L, H)}: the share of attention that its keys get in the passes of `run`, the mean over all queries of
    content. 0 in a layer that the hook does not join, and where its gate is shut."""
    with package.engine.inference(), hooked.probed() as probe:
        run()
        means = package.engine.numpy(probe.mean())
    table = {}
    for hook in getattr(hooked, "hooks", []):
        rows = means.get(hook.cfg.name, {})
        none = np.zeros(hooked.blocks[0].attn.heads, np.float32)
        table[hook.cfg.name] = np.stack([rows.get(layer, none) for layer in range(len(hooked.blocks))])
    return table


def of_world(
    package: ModuleType, model: Any, z: np.ndarray, actions: np.ndarray, seed: int = 0
) -> dict[str, np.ndarray]:
    """Of a world that foresees each frame of clips z (N, T, K, D), actions (N, T, ...), and then sees it."""
    engine, random = package.engine, package.random

    def run() -> None:
        key = random.key(seed, like=engine.array(np.zeros(1, np.float32)))
        past, kind = model.init_past(len(z)), model.cfg.action_space.dtype
        for t in range(z.shape[1]):
            key, own = random.split(key)
            noise, action = model.noise(own, len(z)), engine.array(actions[:, t : t + 1].astype(kind))
            model.step_latent(past, noise, action)
            seen = engine.array(z[:, t : t + 1].astype(np.float32))
            past = engine.copy(model.observe_latent(past, seen, noise, action))

    return masses(package, model.hooked(), run)
