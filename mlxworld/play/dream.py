"""Dreams beside the truth: sees the first frames of real clips, then goes on alone with the true actions.

Takes a backend package and a model as values; numpy in, numpy out. N clips, T frames, H, W pixels, S samples of a
frame, K latent tokens of width D.
"""

from types import ModuleType

import numpy as np

from .encode import encode


def dream(
    package: ModuleType, model, video: np.ndarray, audio: np.ndarray, actions: np.ndarray, context: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """video (N, T, H, W, 3) uint8, audio (N, T, S), actions (N, T, ...) -> dreamt video and audio of the same shapes.

    The first `context` frames of the result are the model's reconstruction of what it saw, the rest is dreamt; with
    `context` = T all is reconstruction.
    """
    engine, ops, random = package.engine, package.ops, package.random
    (N, T), kind = actions.shape[:2], model.cfg.action_space.dtype

    def finish(video, sound, cache, key):
        return ops.uint8(video * 255), sound, cache, key

    def observe(cache, key, z, action):
        key, now = random.split(key)
        video, sound, cache = model.observe(cache, z, model.noise(now, N), action)
        return finish(video, sound, cache, key)

    def step(cache, key, action):
        key, now = random.split(key)
        video, sound, _, cache = model.step(cache, model.noise(now, N), action)
        return finish(video, sound, cache, key)

    observe, step = engine.fixed(observe), engine.fixed(step)
    pictures, sounds = [], []
    with engine.inference():
        seen = zip(video[:, :context], audio[:, :context], strict=True)
        z = np.stack([encode(package, model, *clip) for clip in seen])
        key = random.key(seed, like=engine.array(np.zeros(1, np.float32)))
        cache = model.init_state(N)
        for t in range(T):
            action = engine.array(actions[:, t : t + 1].astype(kind))
            if t < context:
                picture, sound, cache, key = observe(cache, key, engine.array(z[:, t : t + 1]), action)
            else:
                picture, sound, cache, key = step(cache, key, action)
            pictures.append(engine.numpy(picture))
            sounds.append(engine.numpy(sound).astype(np.float32))
    return np.concatenate(pictures, axis=1), np.concatenate(sounds, axis=1)
