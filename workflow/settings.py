"""Settings: frozen, from ``cinelink.toml`` and ``CINELINK_<SECTION>__<KEY>``; a wrong one is refused in words.

The sources are read here and not by pydantic-settings, which passes over a misspelled variable in silence: a site that
believes in a limit that it never set is worse off than one that does not start.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from models.errors import SettingsError

PREFIX = "CINELINK_"
FILE_NAME = "cinelink.toml"

#: Variables of the test suite, which runs the engine as a process of its own.
_NOT_SETTINGS = ("CINELINK_FIELD_DATA", "CINELINK_TEST_")

#: Values that are never repeated in a message.
_NEVER_SHOWN = frozenset({"secrets", "database"})


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004 - pydantic wants a ValueError
    return value


def _empty_is_none(value: Any) -> Any:
    # Path("") is the working folder: an empty inbox would make a watch folder of it.
    return None if value == "" else value


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return value


def _ae_title(value: str) -> str:
    if not (value.isascii() and value.isprintable() and value.strip() and "\\" not in value):
        raise ValueError("must be 1 to 16 ASCII characters, not only spaces, without a backslash (PS3.5 6.2)")
    return value


Whole = Annotated[int, BeforeValidator(_no_truth_value)]
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_truth_value)]
Folder = Annotated[Path | None, BeforeValidator(_empty_is_none)]
Line = Annotated[str, AfterValidator(_one_line)]


class Section(BaseModel):
    """A part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


class DatabaseSettings(Section):
    """Where state lives."""

    url: str = Field(
        default="",
        repr=False,
        description="Database: `sqlite:///FILE` (one process) or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`",
    )

    @field_validator("url")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        in_a_file = value.startswith("sqlite:///") and value not in {"sqlite:///", "sqlite:///:memory:"}
        if value and not in_a_file and not value.startswith("postgresql+psycopg://"):
            raise ValueError("must be sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME")
        return value


class HttpSettings(Section):
    """API and console."""

    host: Line = Field(default="127.0.0.1", min_length=1, description="Address that API and console listen on")
    port: Whole = Field(default=8080, ge=0, le=65535, description="Port of API and console; 0 for a free one")


class Hl7Settings(Section):
    """MLLP in."""

    host: Line = Field(default="127.0.0.1", min_length=1, description="Address that MLLP listens on")
    port: Whole = Field(default=2575, ge=0, le=65535, description="Port of MLLP; 0 for a free one")
    max_message_bytes: Whole = Field(
        default=16 * 1024 * 1024, ge=1024, description="Largest HL7 message that is taken, in bytes"
    )


class DicomSettings(Section):
    """Our own DICOM identity."""

    ae_title: Annotated[str, AfterValidator(_ae_title)] = Field(
        default="CINELINK", min_length=1, max_length=16, description="Our own AE title"
    )


class FilesSettings(Section):
    """Watch folders."""

    inbox: Folder = Field(default=None, description="Watched folder; each of its subfolders is a station")
    scan_seconds: Number = Field(default=2, gt=0, description="How often the watched folder is looked into, in seconds")
    quiet_seconds: Number = Field(
        default=5, gt=0, description="How long a file must not change before it is taken for whole, in seconds"
    )
    stale_seconds: Number = Field(
        default=600,
        gt=0,
        description="How long an incomplete file may stay unchanged before it is rejected in words, in seconds; "
        "not below `files.quiet_seconds`",
    )

    @field_validator("stale_seconds")
    @classmethod
    def _after_quiet(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("quiet_seconds", 0):
            raise ValueError(f"must not be below files.quiet_seconds ({info.data['quiet_seconds']:g})")
        return value


class MatchingSettings(Section):
    """Limits of an automatic link."""

    least_probability: Number = Field(
        default=0.99, ge=0.5, le=1, description="Least probability of an automatic link; below it a person decides"
    )
    least_margin: Number = Field(
        default=0.9, ge=0, le=1, description="Least distance in probability to the runner-up of an automatic link"
    )


class ConversionSettings(Section):
    """The limited child process."""

    workers: Whole = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="Conversions that run side by side"
    )
    memory_mib: Whole = Field(default=2048, ge=256, description="Memory limit of one conversion, in MiB")
    cpu_seconds: Whole = Field(default=36000, ge=1, description="CPU time limit of one conversion, in seconds")
    wall_seconds: Whole = Field(default=36000, ge=1, description="Time limit of one conversion, in seconds")


class DeliverySettings(Section):
    """Retries."""

    first_retry_seconds: Number = Field(
        default=1, gt=0, description="Wait after the first failed attempt at a destination, in seconds; then doubling"
    )
    most_retry_seconds: Number = Field(
        default=60,
        gt=0,
        description="Longest wait between two attempts, in seconds; not below `delivery.first_retry_seconds`",
    )

    @field_validator("most_retry_seconds")
    @classmethod
    def _not_below_first(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("first_retry_seconds", 0):
            raise ValueError(f"must not be below delivery.first_retry_seconds ({info.data['first_retry_seconds']:g})")
        return value


class MappingsSettings(Section):
    """Mapping tables."""

    seed: Folder = Field(
        default=None, description="Folder whose CSV files replace the shipped mapping tables at the first start"
    )


class InstitutionSettings(Section):
    """Who we are in messages that we send."""

    sending_application: Line = Field(default="CINELINK", min_length=1, description="MSH-3 of what we send")
    sending_facility: Line = Field(default="", description="MSH-4 of what we send")


class Settings(Section):
    """Everything that can be set; built once, passed in, never changed. Paths are absolute once loaded."""

    data_dir: Path = Field(
        default=Path("cinelink-data"),
        description="Folder where everything is kept; as a variable it is `CINELINK_DATA_DIR`",
    )
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
    secrets: dict[str, SecretStr] = Field(
        default={},
        description="Passwords and tokens by the name in the column `secret` of `destinations`, in any case; better in "
        "the environment (`CINELINK_SECRETS__<NAME>`) than in a file",
    )

    @field_validator("secrets")
    @classmethod
    def _names_in_lower_case(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        # The name of a variable has no case that one could rely on.
        return {name.lower(): secret for name, secret in value.items()}

    @property
    def inbox(self) -> Path:
        """The watched folder."""
        return self.files.inbox or self.data_dir / "inbox"

    def secret(self, name: str) -> str:
        """Return a secret by name, in any case; an empty text for no name.

        Raises:
            SettingsError: There is none of that name.
        """
        if not name:
            return ""
        if name.lower() not in self.secrets:
            raise SettingsError(f"secret {name!r} is not set: set {PREFIX}SECRETS__{name.upper()}")
        return self.secrets[name.lower()].get_secret_value()


def known_keys() -> tuple[str, ...]:
    """Return every section and every setting: ``data_dir``, ``http``, ``http.host``..."""
    found: list[str] = []
    for name, field in Settings.model_fields.items():
        found.append(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found += [f"{name}.{key}" for key in field.annotation.model_fields]
    return tuple(found)


class _Sources:
    """What was set, and where each value came from."""

    def __init__(self, file: Path | None, environ: Mapping[str, str]) -> None:
        self.values: dict[str, Any] = {}
        self._origins: dict[tuple[str, ...], str] = {}
        if file is not None:
            self._take_file(file)
        for name, value in environ.items():
            # An empty variable is how a compose file says "not set".
            if value and name.startswith(PREFIX) and not name.startswith(_NOT_SETTINGS):
                self._take_variable(name, value)

    def origin(self, path: tuple[str, ...]) -> str:
        """Return where a value came from: a file's name, a variable's name, or ``the default``."""
        exact = self._origins.get(path[:2]) or self._origins.get(path[:1])
        within = (origin for known, origin in self._origins.items() if known[:1] == path)
        return exact or next(within, "the default")

    def _take_file(self, file: Path) -> None:
        try:
            with file.open("rb") as source:
                self.values = tomllib.load(source)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file} is no TOML file: {error}") from error
        except OSError as error:
            raise SettingsError(
                f"the settings file {file} cannot be read ({error.strerror}): name another or leave it out"
            ) from error
        for section, content in self.values.items():
            keys = [(section, key) for key in content] if isinstance(content, dict) else [(section,)]
            self._origins |= dict.fromkeys(keys, file.name)

    def _take_variable(self, name: str, value: str) -> None:
        if name == "CINELINK_DATA_DIR":
            path: tuple[str, ...] = ("data_dir",)
        else:
            section, _, key = name.removeprefix(PREFIX).lower().partition("__")
            path = (section, key)
        if not path[-1]:
            raise SettingsError(f"{name} is no setting: write {PREFIX}<SECTION>__<KEY>, such as CINELINK_HTTP__PORT")
        holder = self.values if len(path) == 1 else self.values.setdefault(path[0], {})
        # A section that is no section is refused with everything else that is wrong in the file.
        if isinstance(holder, dict):
            holder[path[-1]] = value
            self._origins[path] = name


#: What would be right, for each kind of mistake that pydantic tells apart.
_WANTED = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_type": "must be text in quotes",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "path_type": "must be a folder in quotes",
    "dict_type": "must be a section of its own",
    "model_type": "must be a section of its own",
    "value_error": "{error}",
}


def _sentence(error: ValidationError, sources: _Sources) -> str:
    problem = error.errors()[0]
    path = tuple(str(part) for part in problem["loc"])
    key, origin = ".".join(path), sources.origin(path)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known_keys(), n=1)
        advice = f"did you mean {near[0]}?" if near else "docs/settings.md lists all"
        return f"{key} (from {origin}) is no setting; {advice}"
    shown = "not right" if path[0] in _NEVER_SHOWN else repr(problem["input"])
    known = _WANTED.get(problem["type"])
    wanted = known.format(**problem.get("ctx", {})) if known else problem["msg"]
    return f"{key} is {shown} (from {origin}): {wanted}"


def load_settings(file: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings: defaults, then the file, then the environment.

    Args:
        file: Settings file; ``cinelink.toml`` in the working folder when it exists and none is given.
        environ: Environment; the process's own by default.

    Raises:
        SettingsError: One sentence: key, value (never a secret), where it came from, what would be right.
    """
    if file is None and Path(FILE_NAME).is_file():
        file = Path(FILE_NAME)
    sources = _Sources(file, os.environ if environ is None else environ)
    try:
        settings = Settings.model_validate(sources.values)
    except ValidationError as error:
        # Not "from error": pydantic's own words repeat the value, which may be a secret.
        raise SettingsError(_sentence(error, sources)) from None
    return _located(settings, sources)


def _located(settings: Settings, sources: _Sources) -> Settings:
    """Return the settings with absolute paths, once every named folder is there."""
    data = settings.data_dir.expanduser().absolute()
    if data.exists() and not data.is_dir():
        raise SettingsError(f"data_dir is {str(data)!r} (from {sources.origin(('data_dir',))}): must be a folder")
    inbox = _existing(settings.files.inbox, ("files", "inbox"), sources)
    seed = _existing(settings.mappings.seed, ("mappings", "seed"), sources)
    url = settings.database.url or f"sqlite:///{data / 'cinelink.db'}"
    return settings.model_copy(
        update={
            "data_dir": data,
            "files": settings.files.model_copy(update={"inbox": inbox or data / "inbox"}),
            "mappings": settings.mappings.model_copy(update={"seed": seed}),
            "database": settings.database.model_copy(update={"url": url}),
        }
    )


def _existing(folder: Path | None, path: tuple[str, str], sources: _Sources) -> Path | None:
    # A share that is not mounted must not be mistaken for an empty folder: nobody would miss the videos in it.
    if folder is None:
        return None
    found = folder.expanduser().absolute()
    if not found.is_dir():
        raise SettingsError(
            f"{'.'.join(path)} is {str(folder)!r} (from {sources.origin(path)}): must be a folder that exists; "
            "make it, mount it, or leave the setting out"
        )
    return found
