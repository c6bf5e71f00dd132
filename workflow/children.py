"""How conversions and probes run their child process: under which limits, and who ends them when we stop."""

from __future__ import annotations

from dataclasses import dataclass, field

from converters.isolation import Children, Limits


@dataclass(frozen=True)
class ChildRuns:
    """The limits of every child, and the ones that run now.

    Attributes:
        limits: Memory, processor time, time on the clock, file size.
        running: Ended together when the engine stops; what they did is done again at the next start.
    """

    limits: Limits
    running: Children = field(default_factory=Children)
