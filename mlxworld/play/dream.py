"""Dreams beside the truth: sees the first frames of real clips, then goes on alone with the true actions.

Takes a backend package and a model as values; numpy in, numpy out. N clips, T frames, H, W pixels, S samples of a
frame, K latent tokens of width D.
"""

from collections.abc import Callable
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


def foresee(
    package: ModuleType, model, video: np.ndarray, audio: np.ndarray, actions: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The latents of clips z (N, T, K, D), and those that the model expected of each frame from the true ones before.

    video (N, T, H, W, 3) uint8, audio (N, T, S), actions (N, T).
    """
    z = np.stack([encode(package, model, *clip) for clip in zip(video, audio, strict=True)])
    return z, _expect(package, model, z, actions, seed, lambda z, expected: z)


def hear(package: ModuleType, model, video: np.ndarray, actions: np.ndarray, samples: int, seed: int = 0) -> np.ndarray:
    """The sound (N, T, S) that a model imagines to silent pictures: that of the latents which it expects, each from the
    pictures before and the sound that it has imagined so far. For models that have `encode_silent`."""
    engine, latents = package.engine, []
    silence = np.zeros((1, video.shape[1], samples), np.float32)
    with engine.inference():
        for clip in video:
            pictures = clip[None].astype(np.float32) / 255
            latents.append(engine.numpy(model.encode_silent(*engine.array((pictures, silence)))))
    expected = _expect(package, model, np.concatenate(latents), actions, seed, model.with_sound)
    with engine.inference():
        sound, _ = model.decode_audio(engine.array(expected), model.init_sound(len(video)))
        return engine.numpy(sound).astype(np.float32)


def _expect(package: ModuleType, model, z: np.ndarray, actions: np.ndarray, seed: int, seen: Callable) -> np.ndarray:
    """What is expected of each frame of z (N, T, K, D); seen(z, expected) is what the next frames know of it."""
    engine, random = package.engine, package.random
    N, T = actions.shape

    def step(cache, key, z, action):
        key, now = random.split(key)
        noise = model.noise(now, N)
        expected, _ = model.step_latent(cache, noise, action)
        return expected, model.observe_latent(cache, seen(z, expected), noise, action), key

    step, frames = engine.fixed(step), []
    with engine.inference():
        key, cache = random.key(seed, like=engine.array(np.zeros(1, np.float32))), model.init_past(N)
        for t in range(T):
            action = engine.array(actions[:, t : t + 1].astype(np.int32))
            expected, cache, key = step(cache, key, engine.array(z[:, t : t + 1]), action)
            frames.append(engine.numpy(expected).astype(np.float32))
    return np.concatenate(frames, axis=1)
