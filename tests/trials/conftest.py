"""Foreign peers for the trials, started once for each module, and an environment that the engine can live with."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.journeys.hospital import Hospital, foreign_hospital


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    with foreign_hospital(tmp_path_factory.mktemp("hospital")) as peers:
        yield peers


@pytest.fixture(autouse=True)
def _only_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away how large a trial is, once read: the engine refuses variables that are no settings of it."""
    for name in [name for name in os.environ if name.startswith("CINELINK_TRIAL_")]:
        monkeypatch.delenv(name)
