"""A short rollout in PyTorch, recorded call by call: what an exported world must give for what it is given.

A start clip is observed, some frames are dreamt, each is painted and heard, and the clip that this makes is encoded.
The calls lie in a .npz of plain arrays, which numpy alone reads: `0007.step.in.noise`, `0007.step.out.z`.
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from torch_backend import random

from .parts import GROUPS, Source, frames, parts


class Call(NamedTuple):
    """One call of a part: arrays by name, in and out."""

    part: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def rehearse(source: Source, group: str = "all", dreamt: int = 8, seed: int = 7) -> list[Call]:
    """The calls of a group's parts, in order. Enough frames of a start clip go before for `encode` to have its clip."""
    calls: list[Call] = []
    made = {part.name: part for part in parts(source)}

    def call(part, **inputs):
        with torch.no_grad():
            outputs = made[part].module.eval()(**inputs)
        named = dict(zip(made[part].outputs, outputs, strict=True))
        if part in GROUPS[group]:
            calls.append(Call(part, _plain(inputs), _plain(named)))
        return {name: x.clone() for name, x in named.items()}

    z, actions = torch.tensor(source.starts["z"][:1]).float(), torch.tensor(source.starts["actions"][:1]).int()
    seen = max(1, min(z.shape[1], frames(source) - dreamt))
    key, heard, clip = random.key(seed), made["audio"].examples, []
    heard.pop("z")
    for t in range(seen + dreamt):
        key, now = random.split(key)
        noise = source.model.noise(now, 1)
        if t < seen:
            at = z.shape[1] - seen + t
            now = z[:, at : at + 1]
            call("observe", z=now, noise=noise, action=actions[:, at : at + 1])
        else:
            if t == seen:
                for name, held in made["step"].state.items():
                    held.copy_(made["observe"].state[name])  # elsewhere they share one state
            action = torch.full((1, 1), t % len(source.cfg.actions), dtype=torch.int32)
            now = call("step", noise=noise, action=action)["z"]
        video = call("video", z=now)["video"]
        sound = call("audio", z=now, **heard)
        clip.append((video, sound.pop("audio")))
        heard = {name.removesuffix("_next"): x for name, x in sound.items()}
    _encode(call, clip, frames(source))
    return calls


def _encode(call, clip, n):
    clip = (clip * n)[:n] if len(clip) < n else clip[-n:]
    video, audio = (torch.cat(one, dim=1) for one in zip(*clip, strict=True))
    call("encode", video=video.clamp(0, 1), audio=audio)


def write(path: Path, calls: list[Call], **about: np.ndarray) -> None:
    """Saves calls, and arrays by other names."""
    arrays = dict(about)
    for i, call in enumerate(calls):
        for way, held in (("in", call.inputs), ("out", call.outputs)):
            arrays |= {f"{i:04d}.{call.part}.{way}.{name}": x for name, x in held.items()}
    blob = io.BytesIO()
    np.savez_compressed(blob, **arrays)  # pyright: ignore[reportArgumentType]
    path.write_bytes(blob.getvalue())


def _plain(tensors):
    return {name: x.detach().numpy().copy() for name, x in tensors.items()}
