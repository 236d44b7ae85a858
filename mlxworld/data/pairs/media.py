"""Files of anybody's as what a model reads, and what it writes as files: text, PNG, WAV, MP4."""

import io
import wave
from pathlib import Path

import av
import numpy as np
from PIL import Image

from ...configs.translator import TranslatorConfig
from ...errors import MlxworldError
from ...files import atomic
from ...text.rows import rows
from ...text.tokenizer import Tokenizer
from ..episodes.container import reading, sounds
from ..episodes.folder import SUFFIXES as FILMS
from ..episodes.media import read_clip, to_int16, write_clip
from .captions import read_picture
from .spectrogram import heard, sound

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aiff", ".aif")
KINDS = {"image": PICTURES, "audio": SOUNDS, "video": FILMS, "text": (".txt",)}
ENDINGS = {"text": ".txt", "image": ".png", "audio": ".wav", "video": ".mp4"}
LONGEST = 600.0  # seconds of a sound that are decoded, at most


def kind(given: str) -> str:
    """The modality of a file, by its name; of other words, that they are text. Raises MlxworldError for a file that is
    not there."""
    try:
        there = Path(given).is_file()
    except (OSError, ValueError):  # words may be longer than a name can be
        there = False
    suffix = Path(given).suffix.lower()
    for modality, suffixes in KINDS.items():
        if suffix in suffixes:
            if not there:
                raise MlxworldError(f"{given}: no such file")
            return modality
    if there:
        raise MlxworldError(f"{given}: neither picture, sound, film nor .txt")
    return "text"


def read(given: str, cfg: TranslatorConfig, tokenizer: Tokenizer) -> tuple[str, np.ndarray]:
    """The modality of a file, or of words, and what a model reads of it, a batch of one: text (1, max_text) int32,
    audio (1, audio_frames, bands), image (1, H, W, 3) float32 in [0, 1], video (1, T, H, W, 3): its first `seconds`,
    the last picture held where it is shorter. Raises MlxworldError for a file that cannot be read."""
    modality = kind(given)
    if modality == "text":
        return modality, rows([_words(given)], cfg.max_text, tokenizer)
    path = Path(given)
    if modality == "image":
        return modality, read_picture(path, cfg.image_size)[None].astype(np.float32) / 255
    if modality == "audio":
        return modality, heard(cfg, read_sound(path, cfg.sample_rate, cfg.seconds))[None]
    video, _ = read_clip(path, (cfg.video_size, cfg.video_size), cfg.fps, round(cfg.sample_rate / cfg.fps))
    rest = max(0, cfg.frames - len(video))
    video = np.concatenate([video[: cfg.frames], np.repeat(video[-1:], rest, 0)])
    return modality, video[None].astype(np.float32) / 255


def read_sound(path: Path, sample_rate: int, seconds: float = LONGEST) -> np.ndarray:
    """The first `seconds` of a file's first track of sound, mono (N,) float32 in [-1, 1]. Raises MlxworldError."""
    pieces, count, most = [], 0, round(min(seconds, LONGEST) * sample_rate)
    with reading(path) as file:
        if not (tracks := sounds(file)):
            raise MlxworldError(f"{path}: has no sound that can be decoded")
        resampler = av.AudioResampler("flt", "mono", sample_rate)
        for frame in file.decode(tracks[0]):
            frame.pts = None
            for piece in resampler.resample(frame):
                pieces.append(piece.to_ndarray()[0])
                count += len(pieces[-1])
            if count >= most:
                break
        else:
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    if not sum(map(len, pieces)):
        raise MlxworldError(f"{path}: holds no sound")
    return np.concatenate(pieces)[:most].clip(-1, 1)


def write(path: Path, modality: str, made: np.ndarray | str, cfg: TranslatorConfig) -> None:
    """What a model made, as a file: text, or one of `translate`'s arrays without its leading axis. The sound of a
    spectrogram is sought by `spectrogram.sound`; a film has none. Raises MlxworldError."""
    if isinstance(made, str):
        atomic.write_text(path, f"{made}\n")
    elif modality == "image":
        atomic.write(path, png(made))
    elif modality == "audio":
        atomic.write(path, wav(sound(made, cfg.sample_rate, cfg.hop), cfg.sample_rate))
    else:
        frames = pixels(made)
        write_clip(path, frames, np.zeros((len(frames), 0), np.float32), cfg.fps, cfg.sample_rate)


def pixels(picture: np.ndarray) -> np.ndarray:
    """About [0, 1] to uint8."""
    return (255 * np.nan_to_num(picture).clip(0, 1) + 0.5).astype(np.uint8)


def png(picture: np.ndarray) -> bytes:
    """A picture (H, W, 3), about [0, 1]."""
    file = io.BytesIO()
    Image.fromarray(pixels(picture)).save(file, "PNG")
    return file.getvalue()


def wav(samples: np.ndarray, sample_rate: int) -> bytes:
    """A sound (N,) in [-1, 1], 16 bits a sample."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(to_int16(samples).tobytes())
    return file.getvalue()


def _words(given: str) -> str:
    """Words as they are, or what a .txt file says."""
    if Path(given).suffix.lower() != ".txt":
        return given
    try:
        return " ".join(Path(given).read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        raise MlxworldError(f"{given} cannot be read as text: {error}") from error
