"""The picture of an evaluation: each metric of each configuration, with its interval."""

from collections.abc import Container, Sequence
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Literal

from embedsvc.errors import MissingDependency
from embedsvc.services.answer_measuring import AnswersMeasured
from embedsvc.services.evaluation_plan import AnyResult
from embedsvc.services.measuring import Measured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PictureKind = Literal["svg", "png"]

_COLOURS = ("#1b6ca8", "#d1495b", "#66a182", "#edae49", "#8d6a9f", "#5f6b6d", "#00798c", "#a44a3f")
_DOTS = 150
_FONT = "DejaVu Sans"  # Matplotlib brings it
_BOX = "\u25a1"
_MOST_NAME = 60  # characters of the name of a configuration that are shown

_drawing = Lock()
"""Pictures are drawn in threads, and Matplotlib is not made for that."""


def draw(result: AnyResult, title: str, kind: PictureKind) -> bytes:
    """The picture as SVG or PNG, the same for the same result. Raises MissingDependency."""
    try:
        from matplotlib import rcParams
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"pictures need the package {error.name!r}: pip install 'embedsvc[eval]'"
        ) from error
    with _drawing:
        rcParams["svg.hashsalt"] = "embedsvc"  # it has no other place; else ids are random
        stream = BytesIO()
        about = {"Date": None} if kind == "svg" else {"Software": None}
        _figure(result, title).savefig(stream, format=kind, dpi=_DOTS, metadata=about)
        return stream.getvalue()


def _figure(result: AnyResult, title: str) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import findfont, get_font

    letters = get_font(findfont(_FONT)).get_charmap()
    names = list(result.configs[0].metrics)
    configs: Sequence[Measured | AnswersMeasured] = result.configs
    count = len(configs)
    figure = Figure(figsize=(2 + 1.6 * len(names), 4.5 + 0.2 * count), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever the machine has
    axes = figure.add_subplot()
    for number, config in enumerate(configs):
        known = [(at, config.metrics[name]) for at, name in enumerate(names)]
        found = [(at, one) for at, one in known if one is not None]
        shown = _plain(config.name[:_MOST_NAME], letters)
        axes.errorbar(
            [at + 0.7 * ((number + 0.5) / count - 0.5) for at, _ in found],
            [one.value for _, one in found],
            yerr=[
                [max(0.0, one.value - one.low) for _, one in found],
                [max(0.0, one.high - one.value) for _, one in found],
            ],
            fmt="o",
            capsize=3,
            color=_COLOURS[number % len(_COLOURS)],
            label=f"{shown}  ({config.latency.median_ms:.1f} ms)",
        )
    heads = [name.replace("_", "\n") for name in names]
    axes.set_xticks(range(len(names)), heads, family=_FONT)
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y", alpha=0.3)
    head = f"{_plain(title, letters)}: {result.queries} queries, intervals of 95 %"
    axes.set_title(head, fontsize=10, family=_FONT)
    figure.legend(
        loc="outside lower center",
        ncols=min(2, count),
        frameon=False,
        prop={"family": _FONT, "size": 9},
    )
    return figure


def _plain(text: str, letters: Container[int]) -> str:
    """The text as it is, with a box for what the font lacks: Matplotlib would warn of that.

    Dollars would begin a formula, and an underscore at the beginning hides a label.
    """
    printable = (one if one.isprintable() else " " for one in text)  # SVG is XML
    shown = "".join(one if ord(one) in letters else _BOX for one in printable)
    return shown.replace("$", r"\$").lstrip("_") or "-"
