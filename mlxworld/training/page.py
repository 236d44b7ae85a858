"""progress.html in a run's folder: stages and the time left, the last sample with its sound, the losses as curves.

One file that any browser opens; it looks for news by itself while the training runs. What it shows is in it as JSON, so
that a run that is resumed goes on with it. Knows nothing of training.
"""

import html
import json
import math
import re
import time
from pathlib import Path
from typing import Any

from ..files import atomic
from ..files.reading import parse_json
from .budget import shown

POINTS, LINES = 400, 12  # of a curve and of what was said: older ones are thinned, forgotten
EVERY = 5.0  # seconds between two writings, at least
_STATE = re.compile(r'<script type="application/json" id="state">(.*?)</script>', re.DOTALL)


class Page:
    """Told what a Monitor is told: `stage`, `steps`, `update`, `say`, `sample`, `resumed`, `end`."""

    def __init__(self, path: Path, title: str):
        """Goes on with the page that is there."""
        self.path, self._written = path, 0.0
        self._now: dict[str, Any] = {"title": title, "stages": [], "curves": {}, "lines": [], "sample": "", "end": ""}
        self._now |= {n: x for n, x in _read(path).items() if isinstance(x, type(self._now.get(n)))}
        self._now["end"] = ""
        self._begun = time.monotonic(), 0

    def stage(self, name: str, steps: int, done: int = 0, first: int = 0) -> None:
        """What comes now."""
        stages = [s for s in self._now["stages"] if s["name"] != name]
        for stage in stages:
            stage["done"] = stage["steps"]
        self._now["stages"] = [*stages, {"name": name, "steps": steps, "done": done, "first": first, "left": 0}]
        self._begun = time.monotonic(), done
        self.write()

    def steps(self, steps: int) -> None:
        """The present stage has so many steps now."""
        self._now["stages"][-1]["steps"] = steps

    def update(self, step: int, values: dict[str, float]) -> None:
        """`step` steps of the present stage are done."""
        stage, (begun, done) = self._now["stages"][-1], self._begun
        rate = (step - done) / max(time.monotonic() - begun, 1e-9)
        stage |= {"done": step, "left": (stage["steps"] - step) / rate if rate else 0}
        for name, value in values.items():
            curve = self._now["curves"].setdefault(f"{stage['name']}/{name}", [])
            curve.append([stage["first"] + step, value])
            if len(curve) > POINTS:
                del curve[1:-1:2]
        if step >= stage["steps"] or time.monotonic() - self._written > EVERY:
            self.write()

    def resumed(self, step: int) -> None:
        """What came after `step`, counted over all stages, comes again."""
        for curve in self._now["curves"].values():
            curve[:] = [point for point in curve if point[0] <= step]

    def say(self, line: str) -> None:
        """A line to read."""
        self._now["lines"] = [*self._now["lines"], f"{time.strftime('%H:%M:%S')} {line}"][-LINES:]
        self.write()

    def sample(self, path: Path) -> None:
        """PATH.png and PATH.mp4, beside or below the page, show what the model makes now."""
        self._now["sample"] = path.relative_to(self.path.parent).as_posix()
        self.write()

    def end(self, line: str) -> None:
        """Nothing more comes."""
        self._now["end"] = line
        self.write()

    def write(self) -> None:
        """The page as it is now. Raises MlxworldError when it cannot be written."""
        self._written, self._now["time"] = time.monotonic(), time.time()
        atomic.write_text(self.path, _page(self._now))


def _read(path: Path) -> dict[str, Any]:
    """What an earlier page knew; nothing, where there is none of ours."""
    match = _STATE.search(path.read_text(errors="replace")) if path.is_file() else None
    if match is None:
        return {}
    state = parse_json(match[1], str(path))
    return state if isinstance(state, dict) else {}


def _page(now: dict[str, Any]) -> str:
    title, running = html.escape(now["title"]), not now["end"]
    state = json.dumps(now).replace("<", "\\u003c")
    sample, lines = html.escape(now["sample"], quote=True), "\n".join(map(html.escape, now["lines"]))
    shows = f'<img src="{sample}.png" alt="real above, dream below">' if sample else "<p>The first sample is to come."
    if sample:
        shows += f'<video src="{sample}.mp4" controls loop muted autoplay></video><p>{sample}: real left, dream right'
    present = now["stages"][-1]["name"] if now["stages"] else ""
    curves = "".join(
        _curve(name, points) for name, points in now["curves"].items() if points and name.startswith(f"{present}/")
    )
    refresh = '<meta http-equiv="refresh" content="10">' if running else ""
    return _HTML.format(
        title=title,
        refresh=refresh,
        stages="".join(map(_bar, now["stages"])),
        end=html.escape(now["end"]),
        sample=shows,
        curves=curves,
        lines=lines,
        time=1000 * now["time"],
        running=json.dumps(running),
        state=state,
    )


def _bar(stage: dict[str, Any]) -> str:
    left = f", {shown(stage['left'])} left" if stage["left"] and stage["done"] < stage["steps"] else ""
    text = f"{html.escape(stage['name'])} {stage['done']:,} of {stage['steps']:,}{left}"
    return f'<label>{text}<progress value="{stage["done"]}" max="{max(1, stage["steps"])}"></progress></label>'


def _curve(name: str, points: list[list[float]]) -> str:
    """A small curve, over a logarithm where all values are above 0."""
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    if not finite:
        return ""
    last, positive = finite[-1][1], all(y > 0 for _, y in finite)
    ys = [math.log(y) if positive else y for _, y in finite]
    left, low = finite[0][0], min(ys)
    width, height = max(finite[-1][0] - left, 1), max(max(ys) - low, 1e-9)
    line = " ".join(
        f"{200 * (x - left) / width:.1f},{48 - 44 * (y - low) / height:.1f}"
        for (x, _), y in zip(finite, ys, strict=True)
    )
    figure = f'<svg viewBox="0 0 200 52"><polyline points="{line}"/></svg>'
    return f"<figure>{figure}<figcaption>{html.escape(name)} {last:.4g}</figcaption></figure>"


_HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>{refresh}
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em;
  color: #ddd; background: #181a1f }}
label, progress, img, video {{ display: block; width: 100%; box-sizing: border-box }}
label {{ margin: .6em 0 }} progress {{ height: .6em }} img, video {{ image-rendering: pixelated; margin: .5em 0 }}
#curves {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 1em }}
figure {{ margin: 0 }} svg {{ width: 100%; background: #22252c }}
polyline {{ fill: none; stroke: #7fb3ff; stroke-width: 1.5 }}
figcaption, pre, p {{ color: #aaa; font-size: 13px }} pre {{ white-space: pre-wrap }} h1 {{ font-size: 1.4em }}
</style>
<h1>{title}</h1>
<div>{stages}</div>
<p id="news">{end}</p>
<section>{sample}</section>
<section id="curves">{curves}</section>
<pre>{lines}</pre>
<script>
const age = (Date.now() - {time}) / 60000;
if ({running} && age > 3) document.getElementById("news").textContent =
  `no news for ${{Math.round(age)}} minutes: if it has stopped, the same command with --resume goes on`;
</script>
<script type="application/json" id="state">{state}</script>
"""
