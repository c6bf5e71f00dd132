"""Foreign peers for the journeys, started once for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.journeys.hospital import Hospital, foreign_hospital


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    with foreign_hospital(tmp_path_factory.mktemp("hospital")) as peers:
        yield peers
