"""What the supervisor must know about one process; knows no particular program."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """A named command and how it is started, watched and stopped.

    ``environment`` is laid over the variables of the supervisor. ``ready`` is asked again and again until it says yes;
    ``ready_text`` must have appeared in the output since the start.
    A ``one_shot`` must end with status 0 within ``ready_seconds``. ``beside_previous`` starts and stops the process
    together with the one before it in the list, instead of after it. A process that ends is started again after a
    pause, doubled each time up to ``longest_pause_seconds``; after ``steady_seconds`` of health the first one counts.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    ready: Callable[[], bool] | None = None
    ready_text: str | None = None
    ready_seconds: float = 30.0
    restart: bool = True
    one_shot: bool = False
    beside_previous: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    longest_pause_seconds: float = 15.0
    steady_seconds: float = 10.0
