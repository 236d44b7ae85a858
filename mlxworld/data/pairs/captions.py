"""Pictures with captions in the layout of COCO: a folder of pictures, and a JSON file that names them.

    {"images": [{"id": 7, "file_name": "a.jpg"}, ...], "annotations": [{"image_id": 7, "caption": "a cat"}, ...]}

Or a folder in which NAME.txt lies beside each picture, NAME.jpg, .png, .webp or .bmp. Pictures are decoded once, cut to
the model's square, into one file that is then mapped into memory.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from ...configs.translator import TranslatorConfig
from ...errors import MlxworldError
from ...files import atomic
from ...files.reading import listed, read_json
from ...text.rows import rows
from ..episodes.folder import listing
from ..episodes.pixels import fit
from .batches import Pairs
from .transcripts import read_plain

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MOST_BYTES = 2 << 30  # of an annotation file
MOST_PIXELS = 1 << 26


class Captions(Pairs):
    """Pictures, each with one of its captions."""

    modalities = ("text", "image")

    def __init__(self, cfg: TranslatorConfig, pictures: Path, annotations: Path | None, to: Path):
        """annotations: COCO's file; None: each picture has a .txt beside it. to: the folder that decoded pictures are
        kept in. Raises MlxworldError for files of another layout, and where nothing is left that can be used."""
        self.cfg = cfg
        if annotations is None:
            self._captions, missing = read_beside(pictures)
            notes = [f"{missing} pictures have no words beside them (.txt)"] if missing else []
        else:
            self._captions, missing = read_captions(pictures, annotations)
            notes = [f"{missing} captions name a picture that is not there, or none"] if missing else []
        names = sorted(self._captions)
        stamp = [[n, (pictures / n).stat().st_size, (pictures / n).stat().st_mtime_ns] for n in names]
        key = hashlib.sha256(json.dumps([1, cfg.image_size, stamp]).encode()).hexdigest()[:16]
        self.images, broken = _decoded([pictures / n for n in names], cfg.image_size, to / f"pictures-{key}")
        self.names = [n for i, n in enumerate(names) if i not in broken]
        if broken:
            notes.append(f"{len(broken)} pictures cannot be read: {listed(names[i] for i in broken)}")
        if not self.names:
            raise MlxworldError(f"{annotations or pictures}: none of its {len(names)} pictures can be read")
        self.notes = tuple(notes)
        captions = hashlib.sha256(json.dumps([self._captions[n] for n in self.names]).encode()).hexdigest()[:16]
        self.identity = {"source": "captions", "pictures": len(self.names), "digest": key + captions}
        self.card = {
            "data": {"source": str(annotations or pictures), "pictures": len(self.names)},
            "licence": "unknown",
        }

    def texts(self) -> Iterator[str]:
        """All captions."""
        return (text for name in self.names for text in self._captions[name])

    def batch(self, rng: np.random.Generator, size: int, clips: int = 1) -> dict[str, np.ndarray]:
        """See `Pairs.batch`."""
        chosen, images = self.draw(rng, size)
        return {"text": rows(chosen, self.cfg.max_text, self.tokenizer), "image": images}

    def draw(self, rng: np.random.Generator, size: int) -> tuple[list[str], np.ndarray]:
        """Captions, and their pictures (B, H, W, 3) uint8."""
        drawn = rng.integers(0, len(self.names), size)
        texts = [self._captions[self.names[i]] for i in drawn]
        return [each[int(rng.integers(len(each)))] for each in texts], self.images[drawn]


def read_captions(pictures: Path, annotations: Path) -> tuple[dict[str, list[str]], int]:
    """{name of a picture in the folder: its captions}, and how many captions belong to none that is there.

    Raises MlxworldError for a file of another layout, and where no caption has its picture.
    """
    if not pictures.is_dir():
        raise MlxworldError(f"--image-dir {pictures}: no such folder")
    content = read_json(annotations, MOST_BYTES)
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        told = [(entry["image_id"], str(entry["caption"]).strip()) for entry in content["annotations"]]
        captions: dict[str, list[str]] = {}
        for number, text in told:
            if number in names and text:
                captions.setdefault(names[number], []).append(text)
    except (TypeError, KeyError) as error:
        raise MlxworldError(f"{annotations} has not the layout of COCO captions: {error!r} is missing") from error
    inside = {name: texts for name, texts in captions.items() if _inside(pictures, name)}
    missing = len(told) - sum(map(len, inside.values()))
    if not inside:
        raise MlxworldError(f"{annotations}: none of its {len(told)} captions has its picture in {pictures}")
    return inside, missing


def beside(folder: Path) -> dict[Path, Path | None]:
    """The pictures in a folder and in those within it, and of each the .txt beside it."""
    files = listing(folder).others
    words = {path.with_suffix(""): path for path in files if path.suffix.lower() == ".txt"}
    return {path: words.get(path.with_suffix("")) for path in files if path.suffix.lower() in PICTURES}


def read_beside(folder: Path) -> tuple[dict[str, list[str]], int]:
    """{name of a picture in the folder, or in one within it: the words beside it}, and how many pictures have none.

    Raises MlxworldError for words that cannot be read, and where no picture has any.
    """
    pictures = beside(folder)
    texts = {str(p.relative_to(folder)): " ".join(read_plain(words).split()) for p, words in pictures.items() if words}
    captions = {name: [text] for name, text in texts.items() if text}
    if not captions:
        raise MlxworldError(f"{folder}: none of its {len(pictures)} pictures has words beside it (.txt)")
    return captions, len(pictures) - len(captions)


def read_picture(file: Path | BinaryIO, size: int) -> np.ndarray:
    """A picture (size, size, 3) uint8, its middle cut to a square. Raises MlxworldError for one that is broken."""
    path = file if isinstance(file, Path) else "this file"
    try:
        with Image.open(file) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise MlxworldError(f"{path}: a picture of more than {MOST_PIXELS:,} pixels")
            return fit(np.asarray(picture.convert("RGB")), (size, size))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MlxworldError(f"{path}: not a readable picture") from error


def _inside(folder: Path, name: str) -> bool:
    """Whether a name is that of a file in the folder, not of one elsewhere."""
    path = Path(os.path.normpath(folder / name))
    return path.is_relative_to(os.path.normpath(folder)) and path.is_file()


def _decoded(paths: list[Path], size: int, place: Path) -> tuple[np.ndarray, list[int]]:
    """Pictures (N, size, size, 3) uint8 of those that can be read, and the numbers of the others."""
    about, store = place.with_suffix(".json"), place.with_suffix(".npy")
    if about.is_file() and store.is_file():
        return np.load(store, mmap_mode="r"), read_json(about)["broken"]
    broken: list[int] = []

    def read(path: Path) -> np.ndarray | None:
        try:
            return read_picture(path, size)
        except MlxworldError:
            return None

    with atomic.writing(store) as part, ThreadPoolExecutor() as pool:
        images: Any = np.lib.format.open_memmap(part, "w+", np.uint8, (len(paths), size, size, 3))
        shown = track(pool.map(read, paths), "decoding pictures", len(paths), console=Console(stderr=True))
        for i, picture in enumerate(shown):
            if picture is None:
                broken.append(i)
            else:
                images[i - len(broken)] = picture
        images.flush()
    atomic.write_text(about, json.dumps({"broken": broken}) + "\n")
    return np.load(store, mmap_mode="r"), broken
