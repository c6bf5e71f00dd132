"""Settings: frozen, from ``cinelink.toml`` and ``CINELINK_<SECTION>__<KEY>``; a wrong one is refused in words."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import SettingsError

PREFIX = "CINELINK_"

#: Variables that are no settings.
_OTHERS = frozenset({"CINELINK_DATA_DIR", "CINELINK_FIELD_DATA"})


class Section(BaseModel):
    """A part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(Section):
    """Where state lives."""

    url: str = Field(default="", description="SQLAlchemy URL; empty for SQLite in the data folder")


class HttpSettings(Section):
    """API and console."""

    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: int = Field(default=8080, ge=0, le=65535, description="Port; 0 for a free one")


class Hl7Settings(Section):
    """MLLP in."""

    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: int = Field(default=2575, ge=0, le=65535, description="Port; 0 for a free one")
    max_message_bytes: int = Field(default=16 * 1024 * 1024, ge=1024, description="Largest message that is taken")


class DicomSettings(Section):
    """Our own DICOM identity."""

    ae_title: str = Field(default="CINELINK", min_length=1, max_length=16, description="Our AE title")


class FilesSettings(Section):
    """Watch folders."""

    inbox: Path | None = Field(
        default=None, description="Watched folder, one subfolder for each station; empty for <data>/inbox"
    )
    scan_seconds: float = Field(default=2, gt=0, description="How often it is looked into")
    quiet_seconds: float = Field(default=5, gt=0, description="How long a file must not change before it is whole")
    stale_seconds: float = Field(
        default=600, gt=0, description="How long an incomplete file may stay unchanged before it is rejected in words"
    )


class MatchingSettings(Section):
    """Limits of an automatic link."""

    least_probability: float = Field(default=0.99, ge=0.5, le=1, description="Least probability of an automatic link")
    least_margin: float = Field(default=0.9, ge=0, le=1, description="Least distance to the runner-up")


class ConversionSettings(Section):
    """The limited child process."""

    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        description="Conversions side by side; the number of cores by default",
    )
    memory_mib: int = Field(default=2048, ge=256, description="Memory limit of a conversion in MiB")
    cpu_seconds: int = Field(default=36000, ge=1, description="CPU time limit of a conversion in seconds")
    wall_seconds: int = Field(default=36000, ge=1, description="Time limit of a conversion in seconds")


class DeliverySettings(Section):
    """Retries."""

    first_retry_seconds: float = Field(
        default=1, gt=0, description="Wait after the first failed attempt, then doubling"
    )
    most_retry_seconds: float = Field(default=60, gt=0, description="Longest wait between attempts")


class MappingsSettings(Section):
    """Mapping tables."""

    seed: Path | None = Field(
        default=None, description="Folder whose CSV files replace shipped tables when version 1 is published"
    )


class InstitutionSettings(Section):
    """Who we are in messages that we send."""

    sending_application: str = Field(default="CINELINK", min_length=1, description="MSH-3 of what we send")
    sending_facility: str = Field(default="", description="MSH-4 of what we send")


class Settings(Section):
    """Everything that can be set; built once, passed in, never changed."""

    data_dir: Path = Field(default=Path("cinelink-data"), description="Where everything is kept")
    database: DatabaseSettings = DatabaseSettings()
    http: HttpSettings = HttpSettings()
    hl7: Hl7Settings = Hl7Settings()
    dicom: DicomSettings = DicomSettings()
    files: FilesSettings = FilesSettings()
    matching: MatchingSettings = MatchingSettings()
    conversion: ConversionSettings = ConversionSettings()
    delivery: DeliverySettings = DeliverySettings()
    mappings: MappingsSettings = MappingsSettings()
    institution: InstitutionSettings = InstitutionSettings()
    secrets: dict[str, str] = Field(
        default={}, description="Secrets by name, for destinations; better in the environment"
    )

    @property
    def inbox(self) -> Path:
        """The watched folder."""
        return self.files.inbox or self.data_dir / "inbox"

    def secret(self, name: str) -> str:
        """Return a secret by name; empty for no name."""
        if not name:
            return ""
        if name not in self.secrets:
            raise SettingsError(f"secret {name!r} is not set: set CINELINK_SECRETS__{name.upper()}")
        return self.secrets[name]


def _from_file(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as source:
            return tomllib.load(source)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file.name} is no TOML file: {error}") from error
    except OSError as error:
        raise SettingsError(f"the settings file {file} cannot be read: {error.strerror}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name in _OTHERS or name.startswith("CINELINK_TEST_"):
            continue
        section, separator, key = name.removeprefix(PREFIX).partition("__")
        if not separator:
            raise SettingsError(
                f"{name} is no setting: write {PREFIX}<SECTION>__<KEY>, for example CINELINK_HTTP__PORT"
            )
        found.setdefault(section.lower(), {})[key.lower()] = value
    return found


def _sentence(error: ValidationError, environment: dict[str, dict[str, str]], file: Path | None) -> str:
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    from_environment = len(path) > 1 and path[1] in environment.get(path[0], {})
    source = f"{PREFIX}{'__'.join(path).upper()}" if from_environment else (file.name if file else "the settings")
    if problem["type"] == "extra_forbidden":
        return f"{key} (from {source}) is no setting; docs/settings.md lists all"
    value = "(not shown)" if path[0] == "secrets" else repr(problem["input"])
    return f"{key} is {value} (from {source}): {problem['msg'][0].lower()}{problem['msg'][1:]}"


def load_settings(file: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings: defaults, then the file, then the environment.

    Args:
        file: Settings file; ``cinelink.toml`` in the working folder when it exists and none is given.
        environ: Environment; the process's own by default.

    Raises:
        SettingsError: One sentence with the key, the value, where it came from and what would be right.
    """
    environ = os.environ if environ is None else environ
    if file is None and Path("cinelink.toml").is_file():
        file = Path("cinelink.toml")
    values = _from_file(file) if file else {}
    environment = _from_environment(environ)
    for section, keys in environment.items():
        present = values.setdefault(section, {})
        if not isinstance(present, dict):
            raise SettingsError(f"{section} in {file.name if file else 'the settings'} must be a section: [{section}]")
        present.update(keys)
    if data_dir := environ.get("CINELINK_DATA_DIR"):
        values["data_dir"] = data_dir
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_sentence(error, environment, file)) from error
    return _absolute(settings)


def _absolute(settings: Settings) -> Settings:
    data = settings.data_dir.absolute()
    seed = settings.mappings.seed
    if seed is not None and not seed.is_dir():
        raise SettingsError(f"mappings.seed is {str(seed)!r}: no such folder; make it or leave the setting out")
    files = settings.files.model_copy(update={"inbox": (settings.files.inbox or data / "inbox").absolute()})
    database = settings.database
    if not database.url:
        database = database.model_copy(update={"url": f"sqlite:///{data / 'cinelink.db'}"})
    return settings.model_copy(update={"data_dir": data, "files": files, "database": database})
