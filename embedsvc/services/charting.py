"""The picture of an evaluation: each metric of each configuration, with its interval."""

import warnings
from io import BytesIO
from typing import Literal

from embedsvc.errors import MissingDependency
from embedsvc.services.measuring import Result

PictureKind = Literal["svg", "png"]

_COLOURS = ("#1b6ca8", "#d1495b", "#66a182", "#edae49", "#8d6a9f", "#5f6b6d", "#00798c", "#a44a3f")
_DOTS = 150


def draw(result: Result, title: str, kind: PictureKind) -> bytes:
    """The picture as SVG or PNG. Raises MissingDependency."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"pictures need the package {error.name!r}: pip install 'embedsvc[eval]'"
        ) from error
    names = list(result.configs[0].metrics)
    count = len(result.configs)
    figure = Figure(figsize=(2 + 1.6 * len(names), 4.5 + 0.2 * count), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever the machine has
    axes = figure.add_subplot()
    for number, config in enumerate(result.configs):
        found = [config.metrics[name] for name in names]
        axes.errorbar(
            [at + 0.7 * ((number + 0.5) / count - 0.5) for at in range(len(names))],
            [one.value for one in found],
            yerr=[
                [max(0.0, one.value - one.low) for one in found],
                [max(0.0, one.high - one.value) for one in found],
            ],
            fmt="o",
            capsize=3,
            color=_COLOURS[number % len(_COLOURS)],
            label=f"{_plain(config.name)}  ({config.latency.median_ms:.1f} ms)",
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y", alpha=0.3)
    axes.set_title(f"{_plain(title)}: {result.queries} queries, intervals of 95 %", fontsize=10)
    figure.legend(loc="outside lower center", ncols=min(2, count), frameon=False, fontsize=9)
    stream = BytesIO()
    with rc_context({"svg.hashsalt": "embedsvc"}), warnings.catch_warnings():
        # the same result gives the same picture; what the font lacks is drawn as a box
        warnings.simplefilter("ignore", UserWarning)
        about = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(stream, format=kind, dpi=_DOTS, metadata=about)
    return stream.getvalue()


def _plain(text: str) -> str:
    """The text as it is: dollars would begin a formula, and an underscore hides a label."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)  # SVG is XML
    return shown.replace("$", r"\$").lstrip("_") or "-"
