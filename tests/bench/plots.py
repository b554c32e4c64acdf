"""Plots of how cost grows, as SVG whose colours can be read on white and on black."""

from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400, 240, 52, 16, 30, 42  # pixels
TEXT, LINE = "#808890", "#2f95a3"
# Name of the file -> rows, what is drawn of each, title, and the words below.
PLOTS = {
    "frames": ("frames", lambda row: row["median_s"], "seconds", "frames of 1080p"),
    "people": ("people", lambda row: 1000 / row["per_s"], "ms a frame", "people a frame, 1080p"),
    "pixels": ("pixels", lambda row: 1000 / row["per_s"], "ms a frame", "megapixels: 720p, 1080p, 4K"),
    "at-once": ("at_once", lambda row: row["per_s"], "frames/s", "videos at once, 360p"),
    "workers": ("workers", lambda row: row["per_s"], "frames/s", "workers of annotate, 360p"),
}


def plots(facts: dict) -> dict[str, str]:
    """Return the plots of a measurement of growth: file names and SVG."""
    drawn = {}
    for name, (rows, value, what, along) in PLOTS.items():
        points = [(row["x"], value(row)) for row in facts["rows"] if row["plot"] == rows]
        drawn[f"growth-{name}.svg"] = svg(points, what, along)
    return drawn


def svg(points: list[tuple[float, float]], what: str, along: str) -> str:
    """Return a line through points; both axes begin at 0."""
    most_x, step = max(x for x, _ in points), round_step(max(y for _, y in points))
    most_y = step * -(-max(y for _, y in points) // step)

    def place(x: float, y: float) -> tuple[float, float]:
        wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return round(LEFT + wide * x / most_x, 1), round(HEIGHT - BOTTOM - high * y / most_y, 1)

    def text(x: float, y: float, words: str, anchor: str) -> str:
        return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'

    lines = []
    for k in range(round(most_y / step) + 1):
        _, y = place(0, k * step)
        lines.append(f'<path d="M{LEFT} {y:g}H{WIDTH - RIGHT}" stroke="{TEXT}" stroke-opacity=".3"/>')
        lines.append(text(LEFT - 6, y + 4, f"{k * step:,g}", "end"))
    last = -100.0
    for x in sorted({x for x, _ in points}):
        if place(x, 0)[0] - last > 34:  # room for a number
            last = place(x, 0)[0]
            lines.append(text(last, HEIGHT - BOTTOM + 16, f"{x:,.3g}" if x < 1000 else f"{x:,.0f}", "middle"))
    lines.append(text(LEFT, TOP - 12, what, "start"))
    lines.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, along, "middle"))
    path = " ".join(f"{x:g},{y:g}" for x, y in (place(*point) for point in points))
    lines.append(f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    lines += [f'<circle cx="{x:g}" cy="{y:g}" r="3.5" fill="{LINE}"/>' for x, y in (place(*point) for point in points)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
    head += (
        f'font-family="sans-serif" font-size="12" fill="{TEXT}" role="img"><title>{escape(f"{what}, {along}")}</title>'
    )
    return "\n".join([head, *lines, "</svg>", ""])


def round_step(most: float) -> float:
    """Return the least step of 1, 2 or 5 times a power of ten of which five reach ``most``."""
    power = 10.0**-6
    while True:
        for each in (1, 2, 5):
            if 5 * each * power >= most:
                return each * power
        power *= 10
