"""python benchmarks/report.py: the table of speed in README.md and the plot docs/speed.svg.

Each file of benchmarks/results/*.json holds what `mlxworld bench --json` printed; nothing is measured here. The table
goes between the two markers `<!-- speed -->` and `<!-- /speed -->`; the plot sets the best single worlds beside what
people could pick instead.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import tyro

from mlxworld.cli import entry
from mlxworld.errors import MlxworldError
from mlxworld.files import atomic

ROOT = Path(__file__).parents[1]
MARKERS = "<!-- speed -->", "<!-- /speed -->"
BACKENDS = {"torch": "PyTorch", "mlx": "MLX"}
# Others, by what they are and the size of their pictures: random weights, one world, each in its best mode, on the same
# kinds of machine.
OTHERS = {
    "H100": {
        ("DIAMOND", "64x64"): 179,
        ("owl-wms, 1 B", "360x640"): 115,
        ("Dreamer-4 reproduction, 54 M", "128x128"): 83,
        ("Delta-IRIS", "64x64"): 58,
        ("Waypoint, 2.4 B", ""): 28,
        ("Open-Oasis", ""): 1.2,
    },
    "CPU": {
        ("Delta-IRIS", "64x64"): 36,
        ("DIAMOND", "64x64"): 7.5,
        ("Dreamer-4 reproduction, 54 M", "128x128"): 2.4,
    },
}
WIDTH, LEFT, RIGHT, ROW, BAR = 900, 372, 72, 30, 18  # pixels: the picture, names, figures, a row, its bar
STYLE = """
text { font: 14px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 16px } .note { font-size: 12px; fill: #656d76 }
.ours { font-weight: 600 } .bar { fill: #c3cad3 } .torch { fill: #e4572e } .mlx { fill: #2e6fe4 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .note { fill: #8d96a0 } .bar { fill: #484f58 } .torch { fill: #ff7a52 } .mlx { fill: #6aa1ff } }
"""


@dataclass(frozen=True)
class ReportConfig:
    results: Path = ROOT / "benchmarks" / "results"  # a folder of JSON files
    readme: Path = ROOT / "README.md"
    plot: Path = ROOT / "docs" / "speed.svg"


def main(argv: list[str] | None = None) -> None:
    cfg = tyro.cli(ReportConfig, args=sys.argv[1:] if argv is None else argv, description=__doc__)
    results = read(cfg.results)
    atomic.write_text(cfg.readme, between(cfg.readme.read_text(), table(results), str(cfg.readme)))
    atomic.write_text(cfg.plot, plot(results))
    print(f"{len(results)} results in {cfg.readme} and {cfg.plot}")


def read(folder: Path) -> list[dict[str, Any]]:
    """Every result, the fastest device first, then by world, fastest first. Raises MlxworldError."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            result = json.loads(path.read_text())
            missing = {"world", "backend", "device", "chip", "precision", "steps", "batch", "rollout"} - set(result)
        except (ValueError, TypeError) as error:
            raise MlxworldError(f"{path} is no readable JSON file: {error}") from error
        if missing:
            raise MlxworldError(
                f"{path} is not what mlxworld bench --json prints: it lacks {', '.join(sorted(missing))}"
            )
        found.append(result)
    if not found:
        raise MlxworldError(f"no results in {folder}: mlxworld bench --preset nano --json > {folder / 'nano.json'}")
    return sorted(found, key=lambda r: (place(r) == "CPU", place(r), r["batch"] > 1, -r["rollout"]["fps"]))


def place(result: dict[str, Any]) -> str:
    """Where it ran, as a reader says it: "H100", "M2 Max", "CPU"."""
    chip = result["chip"].removeprefix("NVIDIA ").removeprefix("Apple ")
    return "CPU" if result["device"] == "cpu" else chip.split(" 80GB")[0].split(" PCIe")[0]


def numbers(result: dict[str, Any]) -> str:
    """The arithmetic: "float16", "float32, int8 weights", "bfloat16, compiled"."""
    parts = [result["precision"]]
    parts += [f"{result['weights']} weights"] if result.get("weights") else []
    parts += [f"{result['cache']} cache"] if result.get("cache", "float") != "float" else []
    return ", ".join([*parts, "compiled"] if result.get("compiled") else parts)


def roofline(result: dict[str, Any]) -> float | None:
    """Share of the time that the machine needs at best: its products' rate, its copies' rate, whichever binds."""
    counts, rates = result.get("counts", {}).get("step"), result.get("rates")
    if not counts or not rates:
        return None
    best = max(counts["flops"] / rates["gemm_tflops"] / 1e12, counts["bytes_fused"] / rates["copy_gbs"] / 1e9)
    return 1e3 * best / result["rollout"]["p50_ms"]


def table(results: Iterable[dict[str, Any]]) -> str:
    """One row a result, in Markdown."""
    head = (
        "| world | where | backend | arithmetic | passes | frames/s | p50 / p99 ms | of the roofline | PSNR, frame 16 |"
    )
    lines = [head, "|---|---|---|---|---:|---:|---:|---:|---:|"]
    for r in results:
        t, share, cost = r["rollout"], roofline(r), r.get("quality")
        world = f"{r['world']}, {r['batch']} worlds" if r["batch"] > 1 else r["world"]
        chip = f"{r['cores']} CPU cores" if r["device"] == "cpu" and r.get("cores") else place(r)
        row = [world, chip, BACKENDS[r["backend"]], numbers(r), str(r["steps"]), f"**{figure(t['fps'])}**"]
        row += [
            f"{t['p50_ms']:.2f} / {t['p99_ms']:.2f}",
            "" if share is None else f"{share:.0%}" if share >= 0.005 else "under 1%",
        ]
        lines.append("| " + " | ".join([*row, f"{cost['change']:+.2f} dB" if cost else ""]) + " |")
    return "\n".join(lines)


def between(text: str, new: str, source: str) -> str:
    """The text with what stands between the markers replaced. Raises MlxworldError where they are missing."""
    begin, end = (text.find(marker) for marker in MARKERS)
    if begin < 0 or end < begin:
        raise MlxworldError(f"{source} lacks the markers {' and '.join(MARKERS)}")
    return f"{text[: begin + len(MARKERS[0])]}\n{new}\n{text[end:]}"


def plot(results: list[dict[str, Any]]) -> str:
    """An SVG of bars: for each kind of machine the best of each world and backend, one world at a time, and others."""
    best: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for r in results:
        if r["batch"] == 1 and "-64" not in r["world"]:
            kind = "H100" if "H100" in place(r) else place(r)
            at, key = best.setdefault(kind, {}), (r["world"], r["backend"])
            if key not in at or r["rollout"]["fps"] > at[key]["rollout"]["fps"]:
                at[key] = r
    body, y = [], 18
    for kind, ours in best.items():
        own, others = ours.items(), OTHERS.get(kind, {}).items()
        rows = [(f"{world}, {BACKENDS[b]}", "128x128 and sound", r["rollout"]["fps"], b) for (world, b), r in own]
        rows += [(name, f"{size}, no sound".removeprefix(", "), fps, "bar") for (name, size), fps in others]
        cores = next((r.get("cores") for r in ours.values()), None)
        title = f"{cores} CPU cores" if kind == "CPU" and cores else kind
        part, y = panel(f"{title}: frames a second, one world", sorted(rows, key=lambda row: -row[2]), y)
        body += part
    notes = "Colour: mlxworld, from the action to picture and sound on the host. Grey: others, each in its best mode."
    body.append(f'<text class="note" x="16" y="{y}">{notes}</text>')
    size = f'width="{WIDTH}" height="{y + 16}" viewBox="0 0 {WIDTH} {y + 16}"'
    title = "<title>Frames a second of world models</title>"
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{STYLE}</style>{title}", *body, "</svg>\n"]
    )


def panel(title: str, rows: list[tuple[str, str, float, str]], y: int) -> tuple[list[str], int]:
    """Bars of (name, note, frames a second, class), the longest as wide as can be; and where the next panel begins."""
    made, longest = [f'<text class="title" x="16" y="{y + 12}">{escape(title)}</text>'], max(row[2] for row in rows)
    y += 28
    for name, note, fps, kind in rows:
        wide = max(2.0, (WIDTH - LEFT - RIGHT) * fps / longest)
        text, own = y + BAR - 4, "" if kind == "bar" else ' class="ours"'
        made.append(f'<text{own} x="{LEFT - 136}" y="{text}" text-anchor="end">{escape(name)}</text>')
        made.append(f'<text class="note" x="{LEFT - 126}" y="{text}">{escape(note)}</text>')
        made.append(f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{wide:.1f}" height="{BAR}" rx="3"/>')
        made.append(f'<text{own} x="{LEFT + wide + 8:.1f}" y="{text}">{figure(fps)}</text>')
        y += ROW
    return made, y + 24


def figure(fps: float) -> str:
    """As many digits as matter: 1.2, 36, 1,234."""
    return f"{fps:,.0f}" if fps >= 100 else f"{fps:.1f}".removesuffix(".0")


if __name__ == "__main__":
    entry(main)
