"""A job's cost curve in text."""

from collections.abc import Sequence

import plotille

from app.schemas.histories import EpochView


def plot(history: Sequence[EpochView], width: int = 60, height: int = 12) -> str:
    """Cost by epoch, and the validation cost where there is one."""
    figure = plotille.Figure()
    figure.width, figure.height = width, height
    figure.x_label, figure.y_label = "epoch", "cost"
    figure.set_x_limits(min_=0, max_=max(1, history[-1].epoch))
    figure.set_y_limits(min_=0)
    figure.color_mode = "names"
    figure.with_colors = False
    figure.x_ticks_fkt = lambda value, _: f"{value:.0f}"
    figure.y_ticks_fkt = lambda value, _: f"{value:.3f}"
    epochs = [epoch.epoch for epoch in history]
    figure.plot(epochs, [epoch.cost for epoch in history], label="cost")
    measured = [(epoch.epoch, epoch.validation_cost) for epoch in history if epoch.validation_cost is not None]
    if measured:
        figure.plot(
            [epoch for epoch, _ in measured], [cost for _, cost in measured], label="validation cost", marker="x"
        )
    return str(figure.show(legend=bool(measured)))
