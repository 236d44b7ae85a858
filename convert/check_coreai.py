"""Plays a Core AI asset and the PyTorch world that it came from side by side, frame by frame, with one noise.

A start clip is observed, then frames are dreamt, the state of either side its own. Pictures and sound are decoded from
each side's own latents; an asset without dynamics gets the PyTorch world's. Knows nothing of how an asset is made.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlxworld.errors import MlxworldError
from torch_backend import random

from . import parts


@dataclass(frozen=True)
class Gaps:
    """How far an asset is from its world; None for what it has no function for."""

    latents: float | None = None  # largest difference of a dreamt latent, whose tokens have mean square 1
    outside: float | None = None  # share of pixels more than one level of 255 apart
    noise: float | None = None  # root mean square difference of pictures, of a range of 1: 0.01 is a PSNR of 40 dB
    sound: float | None = None  # largest difference of a sample
    encoded: float | None = None  # largest difference of a latent encoded from the dream

    def __str__(self) -> str:
        return ", ".join(f"{f.name} {value:.1e}" for f in fields(self) if (value := getattr(self, f.name)) is not None)


LIMITS = {
    "fp32": Gaps(latents=1e-3, outside=0.01, noise=1e-3, sound=1e-3, encoded=1e-3),
    "fp16": Gaps(noise=0.01, sound=0.1, encoded=0.1),  # a dream's latents may drift
}


def passed(path: Path, source: parts.Source, precision: str, frames: int = 32) -> Gaps:
    """The gaps of an asset. Raises MlxworldError when one of them is over its limit."""
    found, limits = compare(path, source, frames), LIMITS[precision]
    for f in fields(found):
        gap, limit = getattr(found, f.name), getattr(limits, f.name)
        if gap is not None and limit is not None and not gap <= limit:  # a NaN fails
            raise MlxworldError(
                f"it differs from its world: {f.name} {gap:.1e} is over the limit {limit:.1e} ({found})"
            )
    return found


def compare(path: Path, source: parts.Source, frames: int = 32, seed: int = 7) -> Gaps:
    """The gaps over a start clip and then `frames` dreamt frames, actions changing every fourth."""
    with torch.no_grad():
        return asyncio.run(_compare(path, source, frames, seed))


async def _compare(path: Path, source: parts.Source, frames: int, seed: int) -> Gaps:
    from coreai.authoring import AIModelAsset

    async with AIModelAsset.load(path).executable() as executable:
        return _gaps([pair async for pair in _played(source, _Asset(executable), frames, seed)])


async def _played(source: parts.Source, asset: "_Asset", frames: int, seed: int) -> AsyncIterator[tuple[str, Any, Any]]:
    """Every output that the asset has a function for: its name, the world's, the asset's."""
    model, cfg = source.model, source.cfg
    clip, actions = (torch.tensor(source.starts[name][:1]) for name in ("z", "actions"))
    seen, N = clip.shape[1], parts.frames(source)
    actions = torch.cat([actions, torch.arange(frames)[None] // 4 % len(cfg.actions)], dim=1).int()
    cache, key, shown, heard = model.init_state(1), random.key(seed), [], []
    for t in range(seen + frames):
        key, now = random.split(key)
        given = {"noise": model.noise(now, 1), "action": actions[:, t : t + 1]}
        if t < seen:
            z = theirs = clip[:, t : t + 1].float()
            video, audio, cache = model.observe(cache, z, **given)
            await asset("observe", z=z, **given)
        else:
            video, audio, z, cache = model.step(cache, **given)
            theirs = (await asset("step", **given)).get("z")
            yield "latents", z, theirs
        theirs = z if theirs is None else theirs
        yield "picture", video, (await asset("video", z=theirs)).get("video")
        yield "sound", audio, (await asset("audio", z=theirs)).get("audio")
        shown.append(video.clip(0, 1))
        heard.append(audio)
    if len(shown) >= N:
        video, audio = torch.cat(shown[-N:], dim=1), torch.cat(heard[-N:], dim=1)
        yield "encoded", model.encode(video, audio), (await asset("encode", video=video, audio=audio)).get("z")


def _gaps(pairs: list[tuple[str, Any, Any]]) -> Gaps:
    apart: dict[str, list[torch.Tensor]] = {}
    for name, ours, theirs in pairs:
        if theirs is not None:
            low, high = (0, 1) if name == "picture" else (-math.inf, math.inf)
            apart.setdefault(name, []).append((ours.clip(low, high) - theirs.clip(low, high)).abs())
    joined = {name: torch.stack(gaps) for name, gaps in apart.items()}
    found = {name: float(gaps.max()) for name, gaps in joined.items() if name != "picture"}
    if "picture" in joined:
        found["outside"] = float((joined["picture"] > 1 / 255).float().mean())
        found["noise"] = float(joined["picture"].square().mean().sqrt())
    return Gaps(**found)


class _Asset:
    """An asset's functions, called by name; one that it lacks answers nothing. Keeps the dynamics' state and, by the
    names of its ports (x goes in, x_next comes out), the sound's."""

    def __init__(self, executable):
        self.functions = {name: executable.load_function(name) for name in executable.function_names}
        self.state, self.carried = {}, {}
        for name, function in self.functions.items():
            about: Any = function.desc
            zeros = {n: _zeros(about.state_descriptor(n)) for n in about.state_names}
            self.state |= {n: x for n, x in zeros.items() if n not in self.state}
            after = {n.removesuffix("_next") for n in about.output_names if n.endswith("_next")}
            self.carried[name] = {n: _zeros(about.input_descriptor(n)) for n in about.input_names if n in after}

    async def __call__(self, function: str, **inputs: torch.Tensor) -> Mapping[str, torch.Tensor]:
        from coreai.runtime import NDArray

        if function not in self.functions:
            return {}
        run, carried = self.functions[function], self.carried[function]
        given = {n: NDArray(x.numpy().copy()) for n, x in inputs.items()} | carried
        state = {n: self.state[n] for n in run.desc.state_names}
        found = await run(given, state=state) if state else await run(given)
        carried.update({n: found[f"{n}_next"] for n in carried})
        return {n: torch.tensor(np.array(x.numpy())) for n, x in found.items()}


def _zeros(about) -> Any:
    from coreai.runtime import NDArray

    return NDArray(np.zeros(tuple(about.shape), str(about.dtype)))
