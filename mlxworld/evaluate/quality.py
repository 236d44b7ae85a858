"""What a change of precision, weights or cache costs: the changed world's dreams beside the reference's.

Both see the same frames of held-out clips, then dream on with the same noise and the clips' own actions. The figure is
how much nearer to the truth, in dB, the changed world's dream is (below zero: further away). Dreams part ways in time
however small the change is, so the distance between the two dreams stands beside it. Worlds are taken as values.

N clips, T frames, H, W pixels, S samples of a frame.
"""

from typing import Any

import numpy as np

from mlxworld.errors import MlxworldError

from .video import psnr


def quality(
    reference: Any, changed: Any, clips: Any, context: int = 16, horizon: int = 16, seed: int = 0
) -> dict[str, float]:
    """PSNR in dB of frame `horizon` of the dreams, each a mean over N clips.

    reference, changed: worlds with `reset` and `step`, of one game; clips: N clips with video (T, H, W, 3) uint8, audio
    (T, S) and actions (T,), as `World.reset` takes, T at least context + horizon. Returns "reference" and "changed"
    (both to the truth), "change" (changed - reference), "change_error" (its standard error), "apart" (one dream to the
    other) and "change_mean" (the change over all frames up to the horizon), with "clips", "context" and "horizon".
    """
    clips = list(clips)
    if not clips or min(len(clip.actions) for clip in clips) < context + horizon:
        raise MlxworldError(f"quality needs clips of at least {context + horizon} frames")
    truth = np.stack([clip.video[context : context + horizon] for clip in clips])
    dreams = [
        np.stack([_dream(w, c, context, horizon, seed + i) for i, c in enumerate(clips)]) for w in (reference, changed)
    ]
    near, now = (psnr(truth, dream) for dream in dreams)  # (N, horizon)
    change = (now - near)[:, -1]
    return {
        "reference": float(near[:, -1].mean()),
        "changed": float(now[:, -1].mean()),
        "change": float(change.mean()),
        "change_error": float(change.std() / np.sqrt(len(change))),
        "change_mean": float((now - near).mean()),
        "apart": float(psnr(*dreams)[:, -1].mean()),
        "clips": len(clips),
        "context": context,
        "horizon": horizon,
    }


def _dream(world, clip, context, horizon, seed) -> np.ndarray:
    """(horizon, H, W, 3) uint8 after `context` frames of the clip."""
    seen = type(clip)(clip.video[:context], clip.audio[:context], clip.actions[:context])
    world.reset(seed, seen)
    return np.stack([world.step(a).video for a in clip.actions[context : context + horizon]])
