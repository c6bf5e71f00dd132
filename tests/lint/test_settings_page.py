"""The page that an administrator reads says what is true of every setting."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from tests.lint.settings_page import PAGE, every_setting, row, table
from workflow.settings import load_settings

SETTINGS = list(every_setting())


@pytest.mark.parametrize(("key", "field"), SETTINGS, ids=[key for key, _ in SETTINGS])
def test_every_setting_is_on_the_page_with_its_default_its_limits_and_what_it_is(key: str, field: FieldInfo) -> None:
    assert field.description
    assert row(key, field) in PAGE.read_text().splitlines()


def test_the_page_has_no_setting_that_is_none() -> None:
    """``python -m tests.lint.settings_page`` writes the table anew."""
    assert table() in PAGE.read_text()
    assert PAGE.read_text().count("\n| `") == len(SETTINGS)


def test_the_example_of_the_page_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (tmp_path / "cinelink.toml").write_text(example)
    (tmp_path / "video").mkdir()
    monkeypatch.chdir(tmp_path)
    settings = load_settings(environ={})
    given = tomllib.loads(example)
    assert settings.hl7.host == given["hl7"]["host"]
    assert settings.inbox == tmp_path / "video"
