"""A published model of pictures and words, or of words alone (--from FOLDER, as model hubs hold it), is taught a latent
hook (--hook NAME), or adapters (--lora RANK), and stays as it is, on what --data names:

coco     pictures with captions (--image-dir, --annotation-file)
FOLDER   pictures with a .txt beside each; or .txt files alone

Of a picture --question is asked by the model's own template, and the words are the answer. Texts alone are learnt as
they stand, or, with a --question, as its answers."""

import importlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro

from ..configs.translator import TranslatorConfig
from ..data.pairs.batches import Batches
from ..data.pairs.opening import open_told
from ..errors import MlxworldError
from ..files import atomic, hub, pretrained
from ..text.assistant import Assistant
from ..text.generate import Generator, Options
from ..text.lessons import PICTURE, Lessons
from ..text.prompt import prompt
from ..text.rows import printable
from ..training import lora
from ..training.recipe import Recipe as BaseRecipe
from ..training.settings import StageConfig, TrainConfig
from ..training.stage import Batch, Stage
from ..training.turn import Turn

if TYPE_CHECKING:
    from ..training.run import Run

QUESTION = "Describe this picture."  # of pictures
SAMPLES, BEGUN = 4, 8  # things of a sample; tokens of a text that are given
LATER = 1 << 40  # the number of the batch that samples are made of: training never comes to it


@dataclass(frozen=True)
class Lesson(StageConfig):
    steps: int = 2000  # pyright: ignore[reportIncompatibleVariableOverride]
    batch: int = 8
    frames: tyro.conf.Suppress[tuple[int, ...]] = (2,)  # of no meaning for words
    lr: float = 3e-3


@dataclass(frozen=True)
class Settings(TrainConfig):
    preset: tyro.conf.Suppress[str] = "published"
    image_dir: Path | None = None  # of --data coco
    annotation_file: Path | None = None  # of --data coco
    question: str | None = None  # before each answer; of pictures "Describe this picture.", of texts none
    picture_size: int = 336  # pixels of a side: pictures are cut to squares
    tokens: int = 64  # of an answer, or of a part of a text, at most
    learn: Lesson = Lesson()
    config: tyro.conf.Suppress[None] = None

    def check(self) -> None:
        super().check()
        if self.from_ is None or not self.adds:
            raise MlxworldError("a published model stays as it is: give --from FOLDER, and --hook NAME or --lora RANK")
        if not (8 <= self.picture_size <= 4096 and 1 <= self.tokens <= 1 << 16):
            raise MlxworldError("--picture-size lies between 8 and 4096, --tokens between 1 and 65536")


@dataclass(frozen=True)
class Sizes(TranslatorConfig):
    """Of pictures and texts as the data is to give them."""

    image_size: int
    max_text: int


class Recipe(BaseRecipe):
    Settings = Settings
    cfg: Settings
    published = True
    use = "mlxworld ask --model {out}"
    use_hook = "mlxworld ask --model {parent}"
    _lessons: Lessons

    def __init__(self, cfg: Settings):
        super().__init__(cfg)
        name = str(cfg.from_)
        self.folder = hub.folder(name, hub.MODEL_FILES) if name.startswith(hub.SCHEME) else Path(name)
        self.config = pretrained.our_config(about := pretrained.read_config(self.folder), name)
        if not hasattr(self.config, "decoder"):
            raise MlxworldError(f"{name} is no model that writes text")
        if cfg.lora and pretrained.is_quantised(about):
            raise MlxworldError(f"{name} is quantised: --lora is of plain weights, --hook of either")
        sizes = Sizes(cfg.picture_size, cfg.tokens)
        self.data = open_told(sizes, cfg.data, cfg.image_dir, cfg.annotation_file, cfg.cache or cfg.out / "cache")
        if "image" in self.data.modalities and self.config.vision is None:
            raise MlxworldError(f"{name} takes no pictures: give --data a folder of .txt files")
        for note in self.data.notes:
            print(f"{cfg.data}: {note}", file=sys.stderr)
        self.identity = self.data.identity | {"model": pretrained.digest(self.folder)}
        self.card = self.data.card

    def model(self, run: "Run") -> Any:
        """The published one, in the training's precision."""
        loaded = pretrained.load(self.folder, run.package, run.cfg.precision)
        asked = self.cfg.question or (QUESTION if "image" in self.data.modalities else "")
        self._lessons = Lessons(Assistant(loaded), self.data, asked, self.cfg.tokens)
        return loaded.model

    def stages(self, run: "Run") -> tuple[Stage, ...]:
        cfg, c = self.cfg, self.cfg.learn
        losses = importlib.import_module(f"{run.package.__name__}.models.vision_language.losses")
        turn = Turn("learn", losses.answer_loss, replace(cfg.optim, lr=c.lr))

        def batches(start: int) -> Any:
            return Batches(self._lessons, c.batch, cfg.seed * 8, start)

        parts = {"extend": lambda batch, step: self._seen(run, batch), "sample": lambda path: self.sample(run, path)}
        return (Stage("learn", c.steps, (turn,), (batches,), c.accumulate, c.share, **parts),)

    def _seen(self, run: "Run", batch: Batch) -> Batch:
        """The batch with the features of its pictures, which no gradient reaches, in the place of their pixels."""
        pictures = {n.removeprefix(PICTURE): x for n, x in batch.items() if n.startswith(PICTURE)}
        if not pictures:
            return batch
        rest = {n: x for n, x in batch.items() if not n.startswith(PICTURE)}
        with run.engine.inference():
            given = [{n: x[b] for n, x in pictures.items()} for b in range(len(batch["ids"]))]
            seen = [run.model.features(run.engine.array(one), self._lessons.layout) for one in given]
            return rest | {"features": run.package.ops.stack(seen)}

    def sample(self, run: "Run", path: Path) -> None:
        """PATH.txt: what is so, and under it what the model writes; of texts after their first words."""
        texts, pictures = self.data.draw(np.random.default_rng([self.cfg.seed, LATER]), SAMPLES)
        lessons, lines = self._lessons, []
        it, options = lessons.assistant, Options(self.cfg.tokens, lessons.assistant.ends)
        it.generator = Generator(run.package, run.model)  # what another has read and compiled was of other weights
        for i, text in enumerate(texts):
            if lessons.reads:
                shown = [] if pictures is None else [pictures[i]]
                lines.append(f"{text}\n  {it.answer(lessons.question, shown, options)}\n")
                continue
            ids = it.ids(text, begins=True)[:BEGUN]
            grids = () if self.config.decoder.rope.sections else None
            written = it.generator.tokens(prompt([ids], grids=grids), None, options)[0]
            lines.append(f"{it.tokenizer.decode(ids)} ...\n  {it.tokenizer.decode(written)}\n")
        atomic.write_text(path.with_name(f"{path.name}.txt"), printable("".join(lines)))

    def require(self, identity: dict[str, Any]) -> None:
        """As `Recipe.require`, of the published model, too."""
        if identity.get("model") != self.identity["model"]:
            raise MlxworldError(f"--from {self.cfg.from_} is not the model that {self.cfg.out} began with")
        super().require(identity)

    def save(self, run: "Run", card: Any, done: bool) -> None:
        """With adapters a published model like the one before, at the end; a hook is a file of its own."""
        if self.cfg.lora and done:
            own = {n: x for n, x in run.package.nn.parameters(run.model).items() if n in run.added}
            pretrained.save(run.out, self.folder, lora.changes(run.engine.numpy(own)))
