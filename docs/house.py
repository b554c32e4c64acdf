"""Draw the rooms and which imports which, read from the code, as docs/pages/explain/house.svg: `make docs-house`."""

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
# From top to bottom; a room stands above all that it imports. An empty name leaves its place free.
FLOORS = [
    ["cli"],
    ["annotate", "export"],
    ["evaluate"],
    ["pipeline", "view"],
    ["video", "tracks"],
    ["", "models"],
    ["ground"],
]
WIDTH, BOX_W, BOX_H, FLOOR_H = 860, 230, 54, 104


def rooms() -> dict[str, tuple[int, set[str]]]:
    """Return each room's number of files, and the rooms that it imports."""
    found: dict[str, tuple[int, set[str]]] = {name: (0, set()) for floor in FLOORS for name in floor if name}
    for path in [*(ROOT / "cliffvid").rglob("*.py"), *(ROOT / "export").rglob("*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] in ("__init__", "__main__") and len(parts) == 2:
            continue  # the doors
        parts = parts if parts[0] == "cliffvid" else ("cliffvid", *parts)
        room = parts[1] if len(parts) > 2 else "ground"
        used = found[room][1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                base = [*parts[: len(parts) - node.level]] if node.level else []
                full = [*base, *(node.module.split(".") if node.module else ())]
                if full[:1] == ["cliffvid"]:
                    names = [full[1]] if len(full) > 1 else [alias.name for alias in node.names]
                    used |= {name if name in found else "ground" for name in names}
        found[room] = found[room][0] + 1, used - {room}
    return found


def below(house: dict[str, tuple[int, set[str]]], room: str) -> set[str]:
    """Return all rooms that a room comes to by its imports, and theirs: an arrow to one of them says nothing new."""
    return {far for near in house[room][1] for far in {near} | below(house, near)}


def drawing() -> str:
    """Return the SVG. Arrows that follow from others are left out."""
    house = rooms()
    place: dict[str, tuple[float, int]] = {}
    for row, floor in enumerate(FLOORS):
        for column, name in enumerate(floor):
            place[name] = (WIDTH * (column + 1) / (len(floor) + 1), 20 + row * FLOOR_H)
    shapes = []
    for name, (_, used) in house.items():
        for other in sorted(used - {far for near in used for far in below(house, near)}):
            (x, y), (to_x, to_y) = place[name], place[other]
            bend = f"{x:.0f} {(y + to_y) / 2 + BOX_H:.0f} {to_x:.0f} {(y + to_y) / 2:.0f}"
            shapes.append(f'<path d="M{x:.0f} {y + BOX_H:.0f} C{bend} {to_x:.0f} {to_y:.0f}" marker-end="url(#to)"/>')
    for name, (files, _) in house.items():
        x, y = place[name]
        shapes.append(
            f'<rect x="{x - BOX_W / 2:.0f}" y="{y:.0f}" width="{BOX_W}" height="{BOX_H}" rx="8"/>'
            f'<text x="{x:.0f}" y="{y + 24:.0f}" class="name">{escape(name)}</text>'
            f'<text x="{x:.0f}" y="{y + 42:.0f}">{files} files</text>'
        )
    height = 20 + len(FLOORS) * FLOOR_H
    style = (
        "rect{fill:#f4f6fa;stroke:#5b6b8c}path{fill:none;stroke:#8fa0c0;stroke-width:1.5}"
        "text{font:12px sans-serif;fill:#44506a;text-anchor:middle}.name{font:600 15px sans-serif;fill:#1c2333}"
    )
    head = (
        '<marker id="to" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#8fa0c0" stroke="none"/></marker>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
        f"<style>{style}</style><defs>{head}</defs>{''.join(shapes)}</svg>\n"
    )


if __name__ == "__main__":
    (ROOT / "docs" / "pages" / "explain" / "house.svg").write_text(drawing(), encoding="utf-8")
