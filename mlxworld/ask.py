"""`mlxworld ask`: a published vision-language model answers about pictures and films, or words alone.

The answer is written as it comes. Without a question it is a talk: a line is said at a time, and an empty one, or the
end of the input, ends it. `--check` compares the model with transformers, where that is installed.
"""

import importlib
import io
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from rich.console import Console

import mlxworld

from . import images
from .cli import entry
from .data.episodes.container import require_whole
from .data.episodes.pictures import read_frames
from .errors import MlxworldError
from .files import hub, pretrained
from .play.translator import Translator, is_translator
from .text.assistant import Assistant, Talk
from .text.beams import BeamConfig
from .text.check import check
from .text.choose import Choice
from .text.generate import Options
from .text.match import Matcher
from .text.rows import printable

FRAMES = 768  # of a film, at most


@dataclass(frozen=True)
class AskConfig:
    model: str
    """a folder as model hubs hold it, or hf://owner/name; or the run of a model that writes of pictures by itself"""
    question: Annotated[str | None, tyro.conf.Positional] = None
    """what is asked; without it, a talk"""
    image: tuple[Path, ...] = ()
    """pictures that it is about"""
    video: tuple[Path, ...] = ()
    """films, which come after the pictures"""
    fps: float = 2.0
    """frames of a film that are seen, a second"""
    backend: Literal["mlx", "torch"] | None = None
    """the best one installed"""
    precision: Literal["float32", "float16", "bfloat16"] | None = None
    """of numbers; the fastest here"""
    weights: Literal["int8", "int4", "mxfp8"] | None = None
    """to quantise the model"""
    hook: tuple[Path, ...] = ()
    """latent hooks that join it, files"""
    compile: bool = False
    """compile the step in the background"""
    most: int = 512
    """tokens of an answer"""
    choice: tyro.conf.OmitArgPrefixes[Choice] = field(default_factory=Choice)
    beams: tyro.conf.OmitArgPrefixes[BeamConfig] = field(default_factory=BeamConfig)
    stop: tuple[str, ...] = ()
    """texts that end an answer"""
    among: tuple[str, ...] = ()
    """texts, of which is told how well each fits the pictures: by models of two encoders, as BiomedCLIP"""
    check: bool = False
    """compare logits and words with transformers"""
    page: bool = False
    """ask on a page in the browser, where pictures can be dropped"""
    port: int = 7861
    """of the page; 0 takes a free one"""
    open: bool = False
    """open the page in the browser"""


def main(argv: list[str] | None = None) -> None:
    cfg = tyro.cli(AskConfig, args=argv, description=__doc__, prog="mlxworld ask")
    if cfg.most < 1 or not 0 < cfg.fps <= 1000:
        raise MlxworldError("--most must be at least 1, and --fps positive, at most 1000")
    _require_one_use(cfg)
    pictures = [*map(images.read, cfg.image), *(film(path, cfg.fps) for path in cfg.video)]
    if not (installed := mlxworld.installed()):
        raise MlxworldError('no backend is installed: pip install "mlxworld[torch]"')
    folder = hub.folder(cfg.model, hub.MODEL_FILES) if cfg.model.startswith(hub.SCHEME) else Path(cfg.model)
    if is_translator(folder):
        print("\n".join(told(cfg, folder)))
        return
    package = mlxworld.on(cfg.backend or installed[0])
    if cfg.among:
        print("\n".join(matches(cfg, pretrained.load(folder, package, cfg.precision, cfg.weights), pictures)))
        return
    precision = "float32" if cfg.check else cfg.precision
    with Console(stderr=True).status(f"reading {folder.name}"):
        assistant = Assistant.load(folder, package, precision, cfg.weights, compile=cfg.compile, hooks=cfg.hook)
    if cfg.check:
        print(check(assistant, folder, cfg.question or "What is this?", pictures))
        return
    talk, options = Talk(), Options(cfg.most, (), cfg.choice, cfg.beams)
    if cfg.page:
        app = importlib.import_module("mlxworld.apps.ask.app")
        app.page(lambda: Visit(assistant, options, cfg.stop), folder.name, cfg.port, cfg.open)
        return
    for question in [cfg.question] if cfg.question is not None else lines():
        begun, count = time.perf_counter(), 0
        for piece in assistant.stream(question, pictures, options, cfg.stop, talk):
            count += 1
            print(piece, end="", flush=True)
        print()
        pictures = []
        if sys.stderr.isatty():
            print(f"[{count / (time.perf_counter() - begun):.1f} pieces/s]", file=sys.stderr)


def _require_one_use(cfg: AskConfig) -> None:
    """Raises MlxworldError where flags ask for two things, of which one would be left out."""
    uses = [name for name in ("among", "check", "page") if getattr(cfg, name)]
    if len(uses) > 1:
        raise MlxworldError(f"--{uses[0]} and --{uses[1]} are two uses: give one")
    if cfg.among and cfg.question is not None:
        raise MlxworldError("--among takes no question: its texts are told how well they fit")
    if cfg.page and (cfg.question is not None or cfg.image or cfg.video):
        raise MlxworldError("--page takes no question, --image or --video: they are given on the page")


def told(cfg: AskConfig, folder: Path) -> Iterator[str]:
    """What a model that writes of any modality says of each picture and film. It takes no question."""
    fresh, taken = AskConfig(cfg.model), ("image", "video", "backend", "precision", "hook")
    others = [f.name for f in fields(cfg) if f.name not in taken and getattr(cfg, f.name) != getattr(fresh, f.name)]
    if others or not (cfg.image or cfg.video):
        raise MlxworldError(
            f"{folder} writes what it sees: give --image or --video, and no question"
            + (f", no --{others[0]}" if others and others != ["question"] else "")
        )
    translator = Translator.load(folder, cfg.backend, cfg.precision, cfg.hook)
    if not translator.steps:
        print(f"{folder} is untrained: what it writes is noise", file=sys.stderr)
    for path in (*cfg.image, *cfg.video):
        source, data = translator.read(str(path))
        (text,) = translator.texts(translator.translate(source, data, "text"))
        yield printable(f"{path}: {text}" if len(cfg.image) + len(cfg.video) > 1 else text)


class Visit:
    """A page's talk with an assistant."""

    def __init__(self, assistant: Assistant, options: Options, stop: Sequence[str] = ()):
        self.assistant, self.options, self.stop, self.talk = assistant, options, stop, Talk()

    def ask(self, question: str, pictures: Sequence[bytes]) -> Iterator[str]:
        """The answer about picture files, piece by piece. Raises MlxworldError for what is no picture, and as
        `Assistant.stream` does."""
        read = [images.read(io.BytesIO(picture)) for picture in pictures]
        yield from self.assistant.stream(question, read, self.options, self.stop, self.talk)


def matches(cfg: AskConfig, loaded: pretrained.Pretrained, pictures: list[np.ndarray]) -> Iterator[str]:
    """How probable each of the texts is for each picture, if one of them is right."""
    if cfg.video:
        raise MlxworldError("--among is about pictures, not films")
    for path, row in zip(cfg.image, Matcher(loaded)(pictures, cfg.among), strict=True):
        yield f"{path}"
        yield from (f"  {100 * x:5.1f} %  {text}" for text, x in zip(cfg.among, row, strict=True))


def lines() -> Iterator[str]:
    """What a person types, up to an empty line."""
    prompt = "> " if sys.stdin.isatty() else ""
    for _ in itertools.count():
        try:
            line = input(prompt)
        except EOFError:
            return
        if not line.strip():
            return
        yield line


def film(path: Path, fps: float) -> np.ndarray:
    """The frames of a film (T, H, W, 3) uint8, `fps` a second, or FRAMES of them, evenly over all of it. No more than
    twice as many are held. MlxworldError for one that cannot be read."""
    require_whole(path)
    frames, every = [], 1
    for i, step in enumerate(read_frames(path, None, fps)):
        if i % every:
            continue
        frames.append(step.picture)
        if len(frames) > 2 * FRAMES:
            frames, every = frames[::2], 2 * every
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), FRAMES)).round().astype(int)
    return np.stack([frames[i] for i in chosen])


if __name__ == "__main__":
    entry(main)
