"""A job in a notebook: its state, its figures and its cost curve, as HTML without a script."""

import math
from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _BELOW = 480, 160, 56, 20
_COLORS = {"cost": "#1a6fb5", "validation cost": "#c8501e"}
Points = Sequence[tuple[int, float, float | None]]


def page(title: str, figures: Sequence[tuple[str, str]], points: Points) -> str:
    """`figures`: names and values; `points`: epoch, cost, validation cost."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in figures
    )
    return f"<div><strong>{escape(title)}</strong><table>{cells}</table>{curve(points)}</div>"


def curve(points: Points) -> str:
    """An inline SVG; nothing, where there is nothing to be seen yet. Logarithmic, as costs are looked at, if it can."""
    lines = {
        "cost": [(epoch, cost) for epoch, cost, _ in points if math.isfinite(cost)],
        "validation cost": [(epoch, cost) for epoch, _, cost in points if cost is not None and math.isfinite(cost)],
    }
    costs = [cost for line in lines.values() for _, cost in line]
    if len(costs) < 2:
        return ""
    is_logarithmic = min(costs) > 0 and max(costs) > 20 * min(costs)
    scaled = math.log if is_logarithmic else float
    low, high = scaled(min(costs)), scaled(max(costs))
    first, last = points[0][0], points[-1][0]

    def place(epoch: int, cost: float) -> str:
        x = _LEFT + (epoch - first) / ((last - first) or 1) * (_WIDTH - _LEFT)
        y = (high - scaled(cost)) / ((high - low) or 1) * _HEIGHT
        return f"{x:.1f},{y + 6:.1f}"

    drawn = "".join(
        f"<polyline fill='none' stroke='{_COLORS[name]}' stroke-width='1.5' "
        f"points='{' '.join(place(*point) for point in line)}'><title>{name}</title></polyline>"
        for name, line in lines.items()
        if line
    )
    named = [
        _text(_LEFT - 4, 12, f"{max(costs):.3g}", "end"),
        _text(_LEFT - 4, _HEIGHT + 6, f"{min(costs):.3g}", "end"),
    ]
    named += [_text(_LEFT, _HEIGHT + _BELOW, f"epoch {first}"), _text(_WIDTH, _HEIGHT + _BELOW, str(last), "end")]
    box = f"viewBox='0 0 {_WIDTH} {_HEIGHT + _BELOW + 6}' width='{_WIDTH}'"
    return f"<svg {box} role='img' aria-label='cost by epoch'>{drawn}{''.join(named)}</svg>"


def _text(x: int, y: int, text: str, anchor: str = "start") -> str:
    return f"<text x='{x}' y='{y}' font-size='11' fill='currentColor' text-anchor='{anchor}'>{text}</text>"
