"""Figures of us and of a peer, taken in turn, and the table that shows them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measurement: what was measured, and the peak memory in MB of the process that did it."""

    value: float
    memory: float


@dataclass(frozen=True)
class Comparison:
    """Medians of us and of a peer.

    Attributes:
        what: What both did.
        unit: Of the values.
        peer_name: Whom we are measured beside.
    """

    what: str
    unit: str
    peer_name: str
    ours: Figure
    peer: Figure

    def line(self) -> str:
        ratio = self.ours.value / self.peer.value if self.peer.value else float("nan")
        return (
            f"{self.what:<40} {self.ours.value:>9.2f} {self.peer.value:>9.2f} {self.unit:<6} {ratio:>7.2f} "
            f"{self.ours.memory:>8.0f} {self.peer.memory:>8.0f}  {self.peer_name}"
        )


HEADING = f"{'what':<40} {'ours':>9} {'peer':>9} {'unit':<6} {'ratio':>7} {'ours MB':>8} {'peer MB':>8}  the peer"


def side_by_side(
    what: str, unit: str, peer_name: str, ours: Callable[[], Figure], peer: Callable[[], Figure], *, rounds: int
) -> Comparison:
    """Measure us, the peer, us, the peer... and keep the medians and the greatest memory."""
    pairs = [(ours(), peer()) for _ in range(rounds)]
    return Comparison(what, unit, peer_name, *(_middle(figures) for figures in zip(*pairs, strict=True)))


def _middle(figures: tuple[Figure, ...]) -> Figure:
    return Figure(statistics.median(figure.value for figure in figures), max(figure.memory for figure in figures))
