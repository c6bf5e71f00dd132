"""A desk on a usual morning, and those who ask it."""

from __future__ import annotations

import pytest

from tests.interfaces.web.fake_desk import FakeDesk, hospital
from tests.interfaces.web.visitor import Visitor


@pytest.fixture
def desk() -> FakeDesk:
    return hospital()


@pytest.fixture
def stranger(desk: FakeDesk) -> Visitor:
    return Visitor(desk)


@pytest.fixture
def nurse(desk: FakeDesk) -> Visitor:
    visitor = Visitor(desk)
    assert visitor.sign_in().status_code == 303
    return visitor
