"""The page: headline, films side by side, then a section for each part of the evaluation."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from ..figures import REAL, Clips, Report, Row, digits
from .films import film_uri, picture_uri, spectrogram
from .plots import svg

FILMS = 4  # shown
OPEN = 14  # rows of a table that is not folded
HEADLINES = (  # key, what it says, unit
    ("psnr_16", "PSNR of the 16th dreamt frame", "dB"),
    ("action_gain_16", "gained by the true keys over shuffled ones, frame 16", "dB"),
    ("keys_f1", "keys read from dreamt frames, macro F1", ""),
    ("onset_f1", "F1 of sounds that begin, within a frame", ""),
    ("silent_onset_f1", "F1 of sounds imagined to silent pictures", ""),
    ("answer_seen", "from a key to its first visible answer", "frames"),
    ("drift_last", "drift of the last minute, in spreads of real segments", ""),
    ("plausibility_auc", "possible or not, AUC", ""),
)
CLIPS = (
    "The real game and its dream from the same keys. The dream sees the frames before the dashed line, then goes on "
    "alone. Click a spectrogram to go there."
)
BESIDE = (
    "real game",
    REAL,
    "reconstruction",
    "shuffled actions",
    "shuffled",
    "other noise",
    "repeat last",
    "another clip",
)


def page(title: str, about: dict[str, str], parts: Sequence[Report], clips: Clips, fps: float) -> str:
    """All of it as HTML; about: what was measured, by name, for the foot of the page."""
    folder = Path(__file__).parent
    style, script = ((folder / f"report.{kind}").read_text() for kind in ("css", "js"))
    sections = [(f"part-{i}", part) for i, part in enumerate(parts) if part.rows]
    links = [("clips", "Clips")] + [(name, part.title) for name, part in sections]
    nav = "".join(f'<a href="#{name}">{escape(label)}</a>' for name, label in links)
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in about.items())
    films = "".join(_film(clips, n, fps) for n in range(min(FILMS, len(clips.video))))
    body = [
        f"<header><h1>{escape(title)}</h1><p>{_lead(clips, fps)}</p></header>",
        f'<section class="tiles">{"".join(_tiles(parts))}</section><nav>{nav}</nav>',
        f'<section id="clips"><h2>Clips</h2><p class="note">{CLIPS}</p><div class="clips">{films}</div></section>',
        *(_section(name, part) for name, part in sections),
        f"<footer><dl>{facts}</dl></footer>",
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style><main>{''.join(body)}</main><script>{script}</script></html>\n"
    )


def _lead(clips: Clips, fps: float) -> str:
    N, T = clips.video.shape[:2]
    return (
        f"{N} clips of games that training never saw: {clips.context} frames are seen, then {clips.frames} "
        f"({clips.frames / fps:.1f} s) are dreamt with sound. Every figure stands beside what the real frames reach, "
        "what shuffled keys reach and what is got right for nothing."
    )


def _tiles(parts: Sequence[Report]) -> list[str]:
    rows = {row.key: row for part in parts for row in part.rows}
    tiles = []
    for key, says, unit in HEADLINES:
        row = rows.get(key)
        value = row.values.get("model", math.nan) if row else math.nan
        if row is None or math.isnan(value):
            continue
        beside = [
            f"{name} {_three(row.values[name])}" for name in BESIDE if not math.isnan(row.values.get(name, math.nan))
        ][:3]
        small = f"<small>{unit}</small>" if unit else ""
        lines = "<br>".join(beside)
        tiles.append(f'<div class="tile"><b>{_three(value)}{small}</b><span>{says}</span><em>{lines}</em></div>')
    return tiles


def _three(x: float) -> str:
    """Three digits that say something: 39.6, 5.88, 0.432, 2."""
    return "-" if math.isnan(x) else f"{x:.3g}" if abs(x) >= 1 else f"{x:.3f}".rstrip("0").rstrip(".")


def _film(clips: Clips, n: int, fps: float) -> str:
    dream_video, dream_audio = next(iter(clips.dreams.values()))
    figures = [
        _half("real", clips.video[n], clips.audio[n], clips, fps),
        _half("dream", dream_video[n], dream_audio[n], clips, fps),
    ]
    return (
        f'<div class="card clip" data-context="{clips.context}" data-fps="{fps}">'
        f'<div class="pair">{"".join(figures)}</div>'
        '<div class="bar"><button>Play</button><span>hear</span><button aria-pressed="false">real</button>'
        '<button aria-pressed="true">dream</button><span class="state"></span></div></div>'
    )


def _half(name: str, video: np.ndarray, audio: np.ndarray, clips: Clips, fps: float) -> str:
    """A film, and its sound as a picture with a line before which the dream only watches."""
    seen, muted = 100 * clips.context / len(video), "" if name == "dream" else " muted"
    film, heard = film_uri(video, audio, fps, clips.sample_rate), picture_uri(spectrogram(audio, clips.sample_rate))
    return (
        f'<figure class="{name}"><figcaption><b>{name}</b></figcaption>'
        f'<video src="{film}" preload="auto" playsinline loop{muted}></video><div class="mel">'
        f'<img alt="spectrogram, {name}" src="{heard}"><u style="width:{seen:.2f}%"></u><i></i></div></figure>'
    )


def _section(name: str, part: Report) -> str:
    plots = "".join(
        f'<figure class="card plot"><figcaption>{escape(plot.title)}</figcaption>{drawn}</figure>'
        for plot in part.plots
        if (drawn := svg(plot))
    )
    shown = "".join(
        f'<figure class="card shown"><img style="--wide:{2 * p.image.shape[1]}" alt="{escape(p.caption)}" '
        f'src="{picture_uri(p.image)}"><figcaption>{escape(p.caption)}</figcaption></figure>'
        for p in part.pictures
    )
    table = f'<div class="card table">{_table(part)}</div>'
    if len(part.rows) > OPEN:
        table = f"<details><summary>All {len(part.rows)} figures of this section</summary>{table}</details>"
    gallery = "gallery" if len(part.pictures) > 1 else ""
    return (
        f'<section id="{name}"><h2>{escape(part.title)}</h2><p class="note">{escape(part.note)}</p>'
        f'<div class="plots">{plots}</div>{table}<div class="{gallery}">{shown}</div></section>'
    )


def _table(part: Report) -> str:
    names = part.columns
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = []
    for row in part.rows:
        arrow = {"higher": "↑", "lower": "↓"}[row.better]
        cells = "".join(
            f'<td class="{"first" if k == 0 else ""}">{_cell(row, name, k == 0)}</td>' for k, name in enumerate(names)
        )
        lines.append(f'<tr><td>{escape(row.label)} <span class="arrow">{arrow}</span></td>{cells}</tr>')
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _cell(row: Row, name: str, first: bool) -> str:
    value = row.values.get(name, math.nan)
    if math.isnan(value):
        return "-"
    if not first or row.goal is None:
        return digits(value)
    met = value >= row.goal if row.better == "higher" else value <= row.goal
    kind, word = ("met", "✓") if met else ("missed", "of")
    return f'{digits(value)}<span class="goal {kind}">{word} {digits(row.goal)}</span>'
