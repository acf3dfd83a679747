"""A job's cost curve in text."""

from collections.abc import Sequence

import plotille

from app.schemas.histories import EpochView

_WIDTH, _HEIGHT = 60, 12


def plot(history: Sequence[EpochView], *, colours: bool) -> str:
    """Cost by epoch, and the validation cost where there is one: in another colour, or of crosses."""
    figure = plotille.Figure()
    figure.width, figure.height = _WIDTH, _HEIGHT
    figure.x_label, figure.y_label = "epoch", "cost"
    figure.set_x_limits(min_=0, max_=history[-1].epoch)
    figure.set_y_limits(min_=0)
    figure.color_mode = "names"
    figure.with_colors = colours
    figure.x_ticks_fkt = lambda value, _: f"{value:.0f}"
    figure.y_ticks_fkt = lambda value, _: f"{value:.3f}"
    figure.plot([epoch.epoch for epoch in history], [epoch.cost for epoch in history], lc="blue", label="cost")
    measured = [(epoch.epoch, epoch.validation_cost) for epoch in history if epoch.validation_cost is not None]
    if measured:
        epochs, costs = zip(*measured, strict=True)
        figure.plot(epochs, costs, lc="red", label="validation cost", marker=None if colours else "x")
    return str(figure.show(legend=bool(measured)))
