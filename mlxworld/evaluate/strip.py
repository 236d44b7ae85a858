"""Real above, dream below: a strip of frames with the sound under each, as a picture for people."""

import itertools
import os
import tempfile
from pathlib import Path

import numpy as np

from mlxworld.errors import MlxworldError

from . import audio as sound

MARGIN, TEXT = 64, 16  # pixels: the names at the left, the line of frame numbers
GAP = 4
PAPER, INK, FAINT = (255, 255, 255), (30, 30, 30), (200, 200, 200)
REAL, DREAM, BORDER = (0, 95, 160), (200, 80, 0), (200, 0, 60)


def strip(
    real: np.ndarray,
    dream: np.ndarray,
    every: int = 4,
    scale: int = 1,
    *,
    real_audio: np.ndarray | None = None,
    dream_audio: np.ndarray | None = None,
    sample_rate: int = 30720,
    context: int = 0,
) -> np.ndarray:
    """A picture (height, width, 3) uint8 of two clips (T, H, W, 3): each `every`-th frame, `scale` times as large.

    Numbers above the frames count from the clip's beginning; a red line stands before frame `context`, where the dream
    begins. Audio (T, S) of both adds their waveforms and log-mel spectrograms: below a frame, at the same scale of
    time, is the sound from that frame to the next one shown. Raises MlxworldError if the shapes differ.
    """
    from PIL import Image, ImageDraw

    if real.ndim != 4 or real.shape != dream.shape:
        raise MlxworldError(f"a strip needs two videos (T, H, W, 3) of one shape, not {real.shape} and {dream.shape}")
    total, height, width, _ = real.shape
    height, width = height * scale, width * scale
    shown = range(0, total, every)
    lane, mel = max(32, height // 3), max(32, height // 3)
    pairs = [x for x in (real_audio, dream_audio) if x is not None]
    canvas = Image.new(
        "RGB",
        (MARGIN + len(shown) * (width + GAP), TEXT + 2 * (height + GAP) + len(pairs) * (lane + mel + 2 * GAP)),
        PAPER,
    )
    draw = ImageDraw.Draw(canvas)
    for row, (name, video) in enumerate((("real", real), ("dream", dream))):
        top = TEXT + row * (height + GAP)
        draw.text((4, top + height // 2 - 6), name, fill=(REAL, DREAM)[row])
        for column, t in enumerate(shown):
            left = MARGIN + column * (width + GAP)
            frame = Image.fromarray(np.ascontiguousarray(video[t])).resize((width, height), Image.Resampling.NEAREST)
            canvas.paste(frame, (left, top))
            if not row:
                draw.text((left + 2, 2), str(t), fill=INK)
    top = TEXT + 2 * (height + GAP)
    length = len(shown) * (width + GAP) - GAP
    for name, clip, colour in (("real", real_audio, REAL), ("dream", dream_audio, DREAM)):
        if clip is not None:
            draw.text((4, top + lane // 2 - 6), name, fill=colour)
            _waveform(draw, clip, MARGIN, top, length * total / (len(shown) * every), lane, colour)
            top += lane + GAP
    for name, clip, colour in (("real", real_audio, REAL), ("dream", dream_audio, DREAM)):
        if clip is not None:
            draw.text((4, top + mel // 2 - 6), f"{name} mel", fill=colour)
            size = (round(length * total / (len(shown) * every)), mel)
            canvas.paste(
                Image.fromarray(_spectrogram(clip, sample_rate)).resize(size, Image.Resampling.BILINEAR), (MARGIN, top)
            )
            top += mel + GAP
    if context:
        x = MARGIN + context * (width + GAP) // every - GAP // 2
        draw.line((x, 0, x, canvas.height), fill=BORDER, width=2)
    return np.asarray(canvas)


def _waveform(draw, audio: np.ndarray, left: int, top: int, width: float, height: int, colour: tuple) -> None:
    """Least and greatest sample of each column of pixels, between -1 and 1."""
    wave = np.clip(audio.reshape(-1), -1, 1)
    edges = np.linspace(0, len(wave), round(width) + 1).astype(int)
    middle, half = top + height / 2, height / 2 - 1
    draw.rectangle((left, top, left + round(width) - 1, top + height - 1), outline=FAINT)
    for x, (a, b) in enumerate(itertools.pairwise(edges)):
        part = wave[a : max(b, a + 1)]
        draw.line((left + x, middle - half * part.max(), left + x, middle - half * part.min()), fill=colour)


def _spectrogram(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """(bands, frames) uint8: dark is loud, high is up."""
    level = sound.log_mel(audio, sample_rate)
    low = 10 * np.log10(sound.MEL_FLOOR)
    share = np.clip((level - low) / 60, 0, 1)  # 60 dB above the floor is black
    return np.rint(255 * (1 - share)).astype(np.uint8).T[::-1].copy()


def save_png(path: str | Path, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8 whole or not at all: beside the place, then moved there.

    Raises MlxworldError where the folder can't be written; an older picture is kept then.
    """
    from PIL import Image

    path = Path(path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            Image.fromarray(picture).save(file, "PNG")
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise MlxworldError(f"can't write {path}: {error.strerror or error}") from error
