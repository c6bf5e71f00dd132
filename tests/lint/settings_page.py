"""The table of ``docs/settings.md``, made from the settings; ``python -m tests.lint.settings_page`` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from typing import Any, get_args

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic.fields import FieldInfo

from tests.lint.house import ROOT
from workflow.settings import Section, Settings

PAGE = ROOT / "docs" / "settings.md"
HEAD = "| setting | default | allowed | what it is |\n|---|---|---|---|\n"

#: Defaults that are worked out when the settings are read.
_WORKED_OUT = {
    "data_dir": "`./cinelink-data`",
    "database.url": "`sqlite:///<data_dir>/cinelink.db`",
    "files.inbox": "`<data_dir>/inbox`",
    "conversion.workers": "the number of cores",
}


def every_setting(section: type[Section] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from every_setting(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def row(key: str, field: FieldInfo) -> str:
    return f"| `{key}` | {_default(key, field)} | {_allowed(field)} | {field.description} |"


def table() -> str:
    return HEAD + "".join(f"{row(key, field)}\n" for key, field in every_setting())


def _default(key: str, field: FieldInfo) -> str:
    if key in _WORKED_OUT:
        return _WORKED_OUT[key]
    return f"`{field.default}`" if field.default else "none"


def _allowed(field: FieldInfo) -> str:
    kinds = {int: "whole number", float: "number", str: "text", Path: "folder"}
    kind = next((kinds[part] for part in (field.annotation, *get_args(field.annotation)) if part in kinds), "text")
    return ", ".join([kind, *(text for limit in field.metadata if (text := _limit(limit)))])


def _limit(limit: Any) -> str:
    match limit:
        case Ge(ge=least):
            return f"at least {least}"
        case Gt(gt=least):
            return f"more than {least}"
        case Le(le=most):
            return f"at most {most}"
        case MaxLen(max_length=most):
            return f"at most {most} characters"
        case _:
            return ""


def main() -> None:
    before, _, rest = PAGE.read_text().partition(HEAD)
    after = "".join(dropwhile(lambda line: line.startswith("|"), rest.splitlines(keepends=True)))
    PAGE.write_text(before + table() + after)


if __name__ == "__main__":
    main()
