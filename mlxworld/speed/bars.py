"""Groups of named numbers as bars, in an SVG that stands alone."""

from collections.abc import Mapping
from html import escape

COLUMNS, WIDTH, ROW, HEAD, LEFT, BAR = 2, 420, 17, 30, 150, 200
STYLE = (
    "text{font:12px sans-serif;fill:#222}.t{font-weight:600}.n{fill:#555}rect{fill:#3a6ea5}.p{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.n{fill:#aaa}rect{fill:#7fb0e0}.p{fill:#181a1f}}"
)


def bars(title: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """A picture of {group: {name: number from 0 up}}: each group's longest bar is its greatest number."""
    tops, cells = [HEAD] * COLUMNS, []
    for group, values in groups.items():
        column = tops.index(min(tops))
        x, y = column * WIDTH, tops[column]
        cells.append(f'<text class="t" x="{x + 8}" y="{y + 12}">{escape(group)}</text>')
        most = max([*values.values(), 1e-12])
        for i, (name, value) in enumerate(values.items(), 1):
            top = y + i * ROW
            width = BAR * max(0.0, value) / most
            cells.append(f'<text x="{x + LEFT - 6}" y="{top + 12}" text-anchor="end">{escape(name)}</text>')
            cells.append(f'<rect x="{x + LEFT}" y="{top + 3}" width="{width:.1f}" height="{ROW - 6}"/>')
            cells.append(f'<text class="n" x="{x + LEFT + width + 5:.1f}" y="{top + 12}">{value:.3g}</text>')
        tops[column] = y + (len(values) + 2) * ROW
    size = f'viewBox="0 0 {COLUMNS * WIDTH} {max(tops)}" width="{COLUMNS * WIDTH}" height="{max(tops)}"'
    head = f'<rect class="p" width="100%" height="100%"/><text class="t" x="8" y="18">{escape(title)}</text>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>{head}{"".join(cells)}</svg>\n'
