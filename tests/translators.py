"""Small models that read and write any modality, as run folders, and films with words beside them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlxworld import families, on
from mlxworld.configs.omnilatent import PRESETS, Config
from mlxworld.data import write_clip
from mlxworld.data.pairs.transcripts import write_transcript
from mlxworld.files import model_folder

SCENES = replace(PRESETS["nano"], hidden_dim=32, max_text=24)  # fits told scenes
_TINY: dict[str, Any] = {
    "hidden_dim": 32,
    "num_layers": 2,
    "num_heads": 2,
    "vocab_size": 400,
    "max_text": 16,
    "bands": 16,
}
_TINY |= {"audio_frames": 16, "image_size": 16, "image_patch": 8, "video_size": 16, "video_patch": 8}
_TINY |= {"frames": 4, "tubelet": 2, "sample_rate": 8192}
CONFIG = Config(**_TINY)
FPS, SAMPLES = 8, 1024


def run_folder(folder: Path, steps: int = 0, config: Config = SCENES) -> Path:
    """The folder of a run with first weights, which says that it was trained for so many steps."""
    package = on("torch")
    model = families.model(package, config.family)(config).init(package.random.key(0))
    weights = package.engine.numpy(package.nn.parameters(model)) | package.engine.numpy(package.nn.buffers(model))
    card = {"steps": {"cross": steps}, "data": {"source": "scenes"}}
    model_folder.save(folder, folder.name, config, weights, card)
    return folder


def film(path: Path, frames: int = 16, words: str | list | None = None, loud: bool = True, seed: int = 0) -> None:
    """A film whose frame t is of one grey, 8 t + 40; words: of its .txt, or the lines of its .srt."""
    video = np.repeat(np.arange(frames, dtype=np.uint8) * 8 + 40, 16 * 16 * 3).reshape(frames, 16, 16, 3)
    tone = np.sin(2 * np.pi * 440 * np.arange(frames * SAMPLES) / (FPS * SAMPLES)).astype(np.float32)
    audio = (0.5 * tone).reshape(frames, SAMPLES) if loud else np.zeros((frames, 0), np.float32)
    write_clip(path, video, audio, FPS, FPS * SAMPLES)
    if isinstance(words, str):
        path.with_suffix(".txt").write_text(words)
    elif words is not None:
        write_transcript(path.with_suffix(".srt"), words)
