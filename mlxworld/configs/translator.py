"""What the configuration of every model says that reads and writes text, sound, pictures and video."""

from typing import Any

from ..errors import MlxworldError

MODALITIES = ("text", "audio", "image", "video")


class TranslatorConfig:
    """Its fields are those of the family's own dataclass."""

    family: str
    vocab_size: int  # ids of the tokenizer: 0 is padding, 1 a text's beginning, 2 its end
    max_text: int  # tokens of a text
    bands: int  # of a log-mel spectrogram
    audio_frames: int  # columns of a spectrogram, which lasts as long as a video
    image_size: int
    video_size: int
    frames: int  # of a video
    fps: float  # frames a second of a video
    sample_rate: int  # samples a second of the sound that a spectrogram is of

    @property
    def seconds(self) -> float:
        """How long a video lasts, and a sound."""
        return self.frames / self.fps

    @property
    def samples(self) -> int:
        """Samples of a sound: as many as its spectrogram's columns stand for."""
        return self.hop * self.audio_frames

    @property
    def hop(self) -> int:
        """Samples from one column of a spectrogram to the next."""
        return max(1, round(self.seconds * self.sample_rate / self.audio_frames))

    def require_rates(self) -> None:
        """Raises MlxworldError for rates that nothing has."""
        if not (0.1 <= self.fps <= 500 and 1000 <= self.sample_rate <= 1 << 20):
            name = type(self).__name__
            raise MlxworldError(f"{name}: fps must be from 0.1 to 500, sample_rate from 1000 to {1 << 20}")


def require_translator(config: Any, source: str) -> TranslatorConfig:
    """The configuration itself. Raises MlxworldError for that of a model that does something else."""
    if not isinstance(config, TranslatorConfig):
        raise MlxworldError(f"{source}: a model of family {config.family} does not read and write text and pictures")
    return config
