"""A trained model that reads and writes text, sound, pictures and video, ready for use: numpy in, numpy out."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .. import families, on
from ..configs.load import from_dict
from ..configs.translator import MODALITIES, TranslatorConfig, require_translator
from ..data.envs.scenes import draw, make_scene, tell
from ..data.pairs import media
from ..data.pairs.scenes import HELD_OUT
from ..data.pairs.spectrogram import sound
from ..errors import MlxworldError
from ..files import checkpoint, layouts
from ..text import pieces
from ..text.bytes import Bytes
from ..text.rows import rows, texts
from ..text.tokenizer import Tokenizer
from .folder import read_config
from .hooks import join
from .world import preferred_backend

ROWS = 16  # that a model reads at once


class Translator:
    """translator = Translator.load("runs/scenes"); translator("a red ball at the top left. no impacts.", "image")"""

    modalities = MODALITIES

    def __init__(
        self,
        package: ModuleType,
        model: Any,
        config: TranslatorConfig,
        tokenizer: Tokenizer,
        name: str = "untrained",
        card: Mapping[str, Any] | None = None,
    ):
        self.package, self.model, self.config, self.tokenizer = package, model, config, tokenizer
        self.name, self.card = name, dict(card or {})

    @classmethod
    def load(
        cls,
        name: str | Path,
        backend: str | None = None,
        precision: str | None = None,
        hooks: Sequence[str | Path] = (),
    ) -> "Translator":
        """Of a run's folder, or hf://owner/name. hooks: files of latent hooks that join, in this order. Raises
        MlxworldError for what is none."""
        folder, about = read_config(name)
        config = translator_config(folder, about)
        package = on(backend or preferred_backend())
        path = folder / "model.safetensors"
        weights = layouts.upgrade_weights(about["format"], config.family, checkpoint.open(path), str(path))
        model = families.built(package, config, weights)
        package.engine.load_parameters(model, weights, str(path), precision or "float32")
        package.engine.place(model)
        join(package, model, config.family, hooks, precision or "float32", compiled=True)
        tokenizer = pieces.of_run(folder)
        pieces.require_fit(tokenizer, config.vocab_size, str(folder))
        card = about.get("card")
        return cls(package, model, config, tokenizer, about["name"], card if isinstance(card, dict) else {})

    @classmethod
    def untrained(cls, config: TranslatorConfig, backend: str | None = None, seed: int = 0) -> "Translator":
        """With first weights, and bytes as its text."""
        package = on(backend or preferred_backend())
        model = families.built(package, config).init(package.random.key(seed))
        package.engine.place(model)
        return cls(package, model, config, Bytes())

    @property
    def steps(self) -> int:
        """Steps that it was trained for, in all its phases."""
        steps = self.card.get("steps")
        return sum(n for n in steps.values() if isinstance(n, int)) if isinstance(steps, dict) else 0

    @property
    def learnt_from(self) -> str:
        """What it was trained on, as far as its card says."""
        data = self.card.get("data")
        source = data.get("source") if isinstance(data, dict) else None
        return source if isinstance(source, str) else "nothing that is known"

    def __call__(self, given: str | np.ndarray, target: str) -> Any:
        """Words, or an array of one thing (see `translate`) -> words, or a picture (H, W, 3) float32 about [0, 1], a
        video (T, H, W, 3), a sound (N,) in [-1, 1]."""
        source, data = self._given(given)
        made = self.translate(source, data, target)
        if target == "text":
            return self.texts(made)[0]
        return self.sound(made[0]) if target == "audio" else made[0]

    def translate(self, source: str, data: np.ndarray, target: str) -> np.ndarray:
        """Batches as the model reads them -> as it writes them: text (B, max_text) ids, audio (B, audio_frames, bands),
        image (B, H, W, 3) and video (B, T, H, W, 3) in [0, 1]."""
        if target == "text":
            return self._batched(lambda x: self.model.generate(source, x, self.config.max_text), data).astype(np.int32)
        made = self._batched(lambda x: self.model(source, x, target)["output"], data).astype(np.float32)
        return made if target == "audio" else made.clip(0, 1)

    def encode(self, modality: str, data: np.ndarray) -> np.ndarray:
        """Latents (B, C) of a batch."""
        return self._batched(lambda x: self.model.encode(modality, x), data).astype(np.float32)

    def tell_time(self, latents: np.ndarray) -> dict[str, np.ndarray]:
        """Latents (B, N, C) of clips of films in their order -> "order" (B, P), logits that the first of each two clips
        is the earlier one; "distance" (B, P, classes); "boundary" (B, N - 1) and "next" (B, N, C): what a model says
        that was taught of time. Raises MlxworldError for another one."""
        self.require_timeline()
        engine, timeline = self.package.engine, self.model.timeline
        with engine.inference():
            z = engine.array(latents)
            order, distance = timeline.pairs(z)
            told = engine.numpy(timeline(z) | {"order": order, "distance": distance})
        return {name: x.astype(np.float32) for name, x in told.items()}

    def require_timeline(self) -> None:
        """Raises MlxworldError for a model that was taught nothing of time."""
        if not hasattr(self.model, "timeline"):
            raise MlxworldError(f"{self.name} was taught nothing of time: train it with a temporal phase")

    def read(self, given: str) -> tuple[str, np.ndarray]:
        """A file, or words, as the model reads them: see `media.read`."""
        return media.read(given, self.config, self.tokenizer)

    def look(self, blob: bytes) -> np.ndarray:
        """The bytes of a picture's file -> a picture (H, W, 3) float32 in [0, 1], as the model sees it. Raises
        MlxworldError for what is no picture."""
        return media.read_picture(io.BytesIO(blob), self.config.image_size).astype(np.float32) / 255

    def file(self, made: np.ndarray) -> bytes:
        """A picture or a video's strip (H, W, 3) as PNG, a sound (N,) as WAV."""
        return media.wav(made, self.config.sample_rate) if made.ndim == 1 else media.png(made)

    def example(self, number: int) -> tuple[str, np.ndarray] | None:
        """Words and the picture (H, W, 3) float32 of a thing that the model never learnt from; None where none is known
        for what it was taught."""
        if self.learnt_from != "scenes":
            return None
        scene = make_scene(HELD_OUT + number)
        return tell(scene), draw([scene])[0, 0].astype(np.float32) / 255

    def texts(self, ids: np.ndarray) -> list[str]:
        """The texts of rows of ids."""
        return texts(ids, self.tokenizer)

    def sound(self, mel: np.ndarray) -> np.ndarray:
        """A sound (N,) of a spectrogram (audio_frames, bands)."""
        return sound(mel, self.config.sample_rate, self.config.hop)

    def _given(self, given: str | np.ndarray) -> tuple[str, np.ndarray]:
        if isinstance(given, str):
            return "text", rows([given], self.config.max_text, self.tokenizer)
        kinds = {1: "text", 2: "audio", 3: "image", 4: "video"}
        return kinds[given.ndim], given[None]

    def _batched(self, fn: Callable[[Any], Any], data: np.ndarray) -> np.ndarray:
        engine = self.package.engine
        with engine.inference():
            parts = [engine.numpy(fn(engine.array(data[i : i + ROWS]))) for i in range(0, len(data), ROWS)]
        return np.concatenate(parts)


def translator_config(folder: Path, about: Mapping[str, Any]) -> TranslatorConfig:
    """The configuration of the model in what `read_config` gave. Raises MlxworldError for one that is no translator."""
    source, family = str(folder / "config.json"), str(about["model"].get("family", ""))
    settings = layouts.upgrade_config(about["format"], family, about["model"], source)
    return require_translator(from_dict(families.config(family), settings, source), source)


def is_translator(name: str | Path) -> bool:
    """Whether a run's folder holds a model that reads and writes any modality, rather than a world. False for what
    cannot be read: whoever opens it says why."""
    try:
        translator_config(*read_config(name))
    except MlxworldError:
        return False
    return True
