"""Settings: what wins, and that a wrong one is refused in one sentence that says how to mend it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.errors import SettingsError
from workflow.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "site.toml"
    file.write_text(text)
    return file


def refusal(text: str = "", **environ: str) -> str:
    Path("site.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(Path("site.toml"), environ)
    return str(caught.value)


def test_without_a_file_and_variables_everything_has_a_default_below_the_data_folder(tmp_path: Path) -> None:
    settings = load_settings(environ={})
    data = tmp_path / "cinelink-data"
    assert settings.data_dir == data
    assert settings.database.url == f"sqlite:///{data}/cinelink.db"
    assert settings.inbox == settings.files.inbox == data / "inbox"
    assert (settings.http.host, settings.http.port, settings.hl7.port) == ("127.0.0.1", 8080, 2575)
    assert settings.hl7.max_message_bytes == 16_777_216
    assert settings.dicom.ae_title == settings.institution.sending_application == "CINELINK"
    assert (settings.matching.least_probability, settings.matching.least_margin) == (0.99, 0.9)
    assert settings.conversion.workers == os.cpu_count()


def test_the_file_in_the_working_folder_is_read_when_none_is_named() -> None:
    Path("cinelink.toml").write_text("[http]\nport = 8081\n")
    assert load_settings(environ={}).http.port == 8081


def test_a_named_file_is_read_instead_of_the_one_in_the_working_folder(tmp_path: Path) -> None:
    Path("cinelink.toml").write_text("[http]\nport = 8081\n")
    assert load_settings(written(tmp_path, "[http]\nport = 8082"), {}).http.port == 8082


def test_a_variable_wins_over_the_file_and_leaves_the_rest_of_its_section(tmp_path: Path) -> None:
    file = written(tmp_path, '[http]\nhost = "::1"\nport = 8081\n')
    settings = load_settings(file, {"CINELINK_HTTP__PORT": "0"})
    assert (settings.http.host, settings.http.port) == ("::1", 0)


def test_the_data_folder_comes_from_its_variable_and_carries_database_and_inbox(tmp_path: Path) -> None:
    settings = load_settings(environ={"CINELINK_DATA_DIR": "here"})
    assert settings.data_dir == tmp_path / "here"
    assert settings.database.url.startswith(f"sqlite:///{tmp_path}/here/")
    assert settings.inbox == tmp_path / "here" / "inbox"


def test_relative_folders_become_absolute(tmp_path: Path) -> None:
    for folder in ("video", "tables"):
        (tmp_path / folder).mkdir()
    settings = load_settings(environ={"CINELINK_FILES__INBOX": "video", "CINELINK_MAPPINGS__SEED": "tables"})
    assert (settings.inbox, settings.mappings.seed) == (tmp_path / "video", tmp_path / "tables")


def test_an_empty_variable_is_not_set() -> None:
    settings = load_settings(environ={"CINELINK_HTTP__PORT": "", "CINELINK_FILES__INBOX": "", "CINELINK_DATA_DIR": ""})
    assert (settings.http.port, settings.inbox) == (8080, settings.data_dir / "inbox")


def test_an_empty_inbox_in_the_file_never_makes_a_watch_folder_of_the_working_folder(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, '[files]\ninbox = ""'), {})
    assert settings.inbox == settings.data_dir / "inbox"


def test_postgresql_is_taken() -> None:
    url = "postgresql+psycopg://cinelink:pw@db/cinelink"
    assert load_settings(environ={"CINELINK_DATABASE__URL": url}).database.url == url


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = load_settings(environ={})
    with pytest.raises(ValidationError, match="frozen"):
        settings.http.port = 1


def test_variables_of_others_are_left_alone() -> None:
    assert load_settings(environ={"CINELINK_FIELD_DATA": "x", "CINELINK_TEST_KILL": "x", "HOME": "x"}) == load_settings(
        environ={}
    )


@pytest.mark.parametrize(
    ("text", "environ", "sentence"),
    [
        (
            "",
            {"CINELINK_HTTP__PORT": "70000"},
            "http.port is '70000' (from CINELINK_HTTP__PORT): must be at most 65535",
        ),
        ("[http]\nport = -1", {}, "http.port is -1 (from site.toml): must be at least 0"),
        ("", {"CINELINK_HL7__PORT": "two"}, "hl7.port is 'two' (from CINELINK_HL7__PORT): must be a whole number"),
        ("[http]\nport = true", {}, "http.port is True (from site.toml): must be a number, not true or false"),
        ("[http]\nhost = 8", {}, "http.host is 8 (from site.toml): must be text in quotes"),
        ("[http]\nhost = ''", {}, "http.host is '' (from site.toml): must not be empty"),
        ("http = 8080", {}, "http is 8080 (from site.toml): must be a section of its own"),
        ("http = 8080", {"CINELINK_HTTP__PORT": "1"}, "http is 8080 (from site.toml): must be a section of its own"),
        ("[files]\nscan_seconds = 0", {}, "files.scan_seconds is 0 (from site.toml): must be more than 0"),
        ("[files]\nquiet_seconds = nan", {}, "files.quiet_seconds is nan (from site.toml): must be a finite number"),
        ("[files]\nquiet_seconds = inf", {}, "files.quiet_seconds is inf (from site.toml): must be a finite number"),
        (
            "[files]\nquiet_seconds = 700",
            {},
            "files.stale_seconds is 600 (from the default): must not be below files.quiet_seconds (700)",
        ),
        (
            "[delivery]\nfirst_retry_seconds = 90",
            {"CINELINK_DELIVERY__MOST_RETRY_SECONDS": "30"},
            (
                "delivery.most_retry_seconds is '30' (from CINELINK_DELIVERY__MOST_RETRY_SECONDS): "
                "must not be below delivery.first_retry_seconds (90)"
            ),
        ),
        (
            "[matching]\nleast_probability = 99",
            {},
            "matching.least_probability is 99 (from site.toml): must be at most 1",
        ),
        (
            '[dicom]\nae_title = "A TITLE OF 17 LETTERS"',
            {},
            "dicom.ae_title is 'A TITLE OF 17 LETTERS' (from site.toml): must have at most 16 characters",
        ),
        (
            '[dicom]\nae_title = "  "',
            {},
            (
                "dicom.ae_title is '  ' (from site.toml): must be 1 to 16 ASCII characters, not only spaces, "
                "without a backslash (PS3.5 6.2)"
            ),
        ),
        (
            '[institution]\nsending_facility = "A\\rPID"',
            {},
            "institution.sending_facility is 'A\\rPID' (from site.toml): must be one line of printable characters",
        ),
        ("[http]\nprot = 1", {}, "http.prot (from site.toml) is no setting; did you mean http.port?"),
        (
            "",
            {"CINELINK_HTTP__PROT": "1"},
            "http.prot (from CINELINK_HTTP__PROT) is no setting; did you mean http.port?",
        ),
        ("", {"CINELINK_HTPP__PORT": "1"}, "htpp (from CINELINK_HTPP__PORT) is no setting; did you mean http?"),
        ("[zzz]\na = 1", {}, "zzz (from site.toml) is no setting; docs/settings.md lists all"),
        (
            "",
            {"CINELINK_HTTP_PORT": "1"},
            "CINELINK_HTTP_PORT is no setting: write CINELINK_<SECTION>__<KEY>, such as CINELINK_HTTP__PORT",
        ),
        (
            '[mappings]\nseed = "no"',
            {},
            (
                "mappings.seed is 'no' (from site.toml): must be a folder that exists; make it, mount it, or leave the "
                "setting out"
            ),
        ),
        (
            "",
            {"CINELINK_FILES__INBOX": "share"},
            (
                "files.inbox is 'share' (from CINELINK_FILES__INBOX): must be a folder that exists; make it, mount it, "
                "or leave the setting out"
            ),
        ),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence_with_key_value_source_and_remedy(
    text: str, environ: dict[str, str], sentence: str
) -> None:
    assert refusal(text, **environ) == sentence


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    said = refusal(CINELINK_DATA_DIR="taken")
    assert said == f"data_dir is '{tmp_path}/taken' (from CINELINK_DATA_DIR): must be a folder"


@pytest.mark.parametrize("content", [b"[http\n", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "site.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"site\.toml is no TOML file"):
        load_settings(file, {})


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"gone\.toml cannot be read \(No such file or directory\)"):
        load_settings(Path("gone.toml"), {})


@pytest.mark.parametrize(
    "url", ["mysql://root:tiger@db/x", "postgresql://root:tiger@db/x", "tiger", "sqlite://", "sqlite:///:memory:"]
)
def test_a_database_of_another_kind_is_refused_and_its_password_is_not_repeated(url: str) -> None:
    said = refusal(CINELINK_DATABASE__URL=url)
    assert said.startswith("database.url is not right (from CINELINK_DATABASE__URL): must be sqlite:///FILE or ")
    assert "tiger" not in said


@pytest.mark.parametrize("text", ["[secrets]\nehr = 4711", '[secret]\nehr = "4711"', 'secrets = "4711"'])
def test_a_wrong_secret_is_never_repeated_not_even_by_the_cause_of_the_error(text: str) -> None:
    Path("site.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(Path("site.toml"), {})
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_settings_do_not_print_secrets_or_the_password_of_the_database() -> None:
    settings = load_settings(
        environ={"CINELINK_SECRETS__EHR": "4711", "CINELINK_DATABASE__URL": "postgresql+psycopg://a:4711@db/x"}
    )
    assert "4711" not in repr(settings)


@pytest.mark.parametrize("value", ["12345678", "true", '{"a": 1}', " spaced "])
def test_a_secret_from_a_variable_is_taken_as_it_is_and_found_in_any_case(value: str) -> None:
    settings = load_settings(environ={"CINELINK_SECRETS__EHR_TOKEN": value})
    assert settings.secret("ehr_token") == settings.secret("EHR_TOKEN") == value


def test_a_variable_wins_over_the_same_secret_in_the_file_in_another_case(tmp_path: Path) -> None:
    file = written(tmp_path, '[secrets]\nEhr = "old"\n')
    assert load_settings(file, {"CINELINK_SECRETS__EHR": "new"}).secret("Ehr") == "new"


def test_a_secret_from_the_file_is_found_in_any_case(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, '[secrets]\nEHR_Token = "4711"\n'), {})
    assert settings.secret("ehr_token") == settings.secret("EHR_Token") == "4711"


def test_no_name_is_no_secret_and_an_unknown_name_says_what_to_set() -> None:
    assert Settings().secret("") == ""
    with pytest.raises(SettingsError, match="secret 'ehr' is not set: set CINELINK_SECRETS__EHR"):
        Settings().secret("ehr")
