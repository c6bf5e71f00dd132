"""Commands that need neither a server nor a database: probe, convert, verify, send."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from converters.convert import convert as run_conversion
from converters.planning import plan as make_plan
from converters.probe import probe as run_probe
from converters.verify import verify_object
from interfaces.hl7.header import read_header
from interfaces.hl7.orders import read_orders
from interfaces.hl7.sandbox import split_messages
from interfaces.hl7.sender import send as send_message
from mappings.tables import load_set
from models.errors import NotFound, VerificationFailed
from models.lifecycle import apply_request
from models.mapping import MappingSet
from models.order import Order, OrderAction
from models.plan import ConversionJob, ConversionPlan
from models.recording import StreamFacts
from models.study import Instance, derive_series_uid, derive_sop_uid, derive_study_uid
from workflow.bootstrap import software
from workflow.cli.common import answer, as_json, table

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_mappings = click.option(
    "--mappings",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with mapping tables (CSV) that replace the shipped ones.",
)


@click.command()
@click.argument("video", type=_file)
@as_json
def probe(video: Path, as_json: bool) -> None:  # noqa: FBT001 - a click flag
    """Say what VIDEO is: codec, profile, size, rate, sound, defects."""
    facts = run_probe(video.absolute())
    rows = [(name, _cell(value)) for name, value in facts.model_dump(mode="json").items() if value not in ("", [], {})]
    answer(facts.model_dump(mode="json"), as_json=as_json, text=lambda: table(("WHAT", "VALUE"), rows))


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@click.command()
@click.argument("video", type=_file)
@click.argument("output", type=click.Path(exists=False, dir_okay=False, path_type=Path))
@click.option("--order", "order_file", type=_file, required=True, help="HL7 order (ORM^O01) that gives the identity.")
@click.option("--explain", is_flag=True, help="Only say what would be done, and why.")
@_mappings
@as_json
def convert(
    video: Path,
    output: Path,
    order_file: Path,
    explain: bool,  # noqa: FBT001 - a click flag
    folder: Path | None,
    as_json: bool,  # noqa: FBT001 - a click flag
) -> None:
    """Convert VIDEO to the DICOM file OUTPUT with the identity of an HL7 order."""
    tables = load_set(0, folder)
    order = _order(order_file, tables)
    procedure = tables.procedure(order.procedure, order.sender.namespace)
    facts = run_probe(video.absolute())
    archives = tuple(row for row in tables.destinations if row.kind == "dicom")
    planned = make_plan(facts, procedure, archives, mapping_version=0)
    if explain:
        answer(planned.model_dump(mode="json"), as_json=as_json, text=lambda: "\n".join(planned.reasons))
        return
    job = ConversionJob(
        source=str(video.absolute()),
        output=str(output.absolute()),
        facts=facts,
        plan=planned,
        order=order,
        instance=_instance(order, planned, facts),
        procedure=procedure,
        station=tables.station_named(order.station),
        started_at=facts.created_at,
        written_at=datetime.now(tz=UTC),
        software=software(),
        issuer_of_patient_id=order.patient.identifier.authority.key,
        issuer_of_accession=order.accession_authority.key,
    )
    result = run_conversion(job, lambda _share: None)
    lines = [*planned.reasons, *(f"{check.name}: {check.figure}" for check in result.checks)]
    answer(result.model_dump(mode="json"), as_json=as_json, text=lambda: "\n".join(lines))


def _order(order_file: Path, tables: MappingSet) -> Order:
    messages = split_messages(order_file.read_bytes())
    if not messages:
        raise NotFound(f"{order_file.name} holds no HL7 message; give a file that begins with MSH")
    header = read_header(messages[0])
    sender = tables.sender(header.sending_application, header.sending_facility)
    request = read_orders(messages[0], sender)[0]
    order = apply_request((), request, OrderAction.SCHEDULE, ()).order
    if order is None:
        raise NotFound(f"{order_file.name} asks for no order")
    if order.study_uid:
        return order
    number = order.filler or order.placer
    uid = derive_study_uid(number.authority.key, number.value, order.requested_procedure_id) if number else ""
    if not uid:
        raise NotFound(f"{order_file.name} names no study, filler or placer number to make a study from")
    return order.model_copy(update={"study_uid": uid, "study_uid_source": "derived"})


def _instance(order: Order, planned: ConversionPlan, facts: StreamFacts) -> Instance:
    return Instance(
        sop_uid=derive_sop_uid(facts.sha256, order.id, 1, planned.kind, planned.transfer_syntax, planned.sop_class, 1),
        sop_class=planned.sop_class,
        transfer_syntax=planned.transfer_syntax,
        series_uid=derive_series_uid(facts.sha256, order.id, planned.modality, planned.sop_class),
        study_uid=order.study_uid,
        order_id=order.id,
        recording_id="",
        modality=planned.modality,
        series_number=1,
        file_sha256=facts.sha256,
        duration=facts.duration,
        plan_kind=planned.kind,
    )


@click.command()
@click.argument("dicom", type=_file)
@as_json
def verify(dicom: Path, as_json: bool) -> None:  # noqa: FBT001 - a click flag
    """Read a DICOM video object back and check the stream against its attributes."""
    checks = verify_object(dicom.absolute())
    rows = [("ok" if check.passed else "FAILED", check.name, check.figure) for check in checks]
    values = [check.model_dump(mode="json") for check in checks]
    answer(values, as_json=as_json, text=lambda: table(("", "CHECK", "FIGURE"), rows))
    if broken := [check for check in checks if not check.passed]:
        raise VerificationFailed("verify", f"{broken[0].name}: {broken[0].figure}")


def host_and_port(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, int]:
    """Read HOST:PORT."""
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdigit():
        raise click.BadParameter(f"{value!r} is not HOST:PORT, for example 127.0.0.1:2575")
    return host.strip("[]"), int(port)


@click.command()
@click.argument("message_file", type=_file)
@click.option("--to", "address", required=True, callback=host_and_port, help="HOST:PORT of an MLLP receiver.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for each answer.")
@as_json
def send(
    message_file: Path,
    address: tuple[str, int],
    timeout: float,
    as_json: bool,  # noqa: FBT001 - a click flag
) -> None:
    """Send every HL7 message of a file over MLLP and show the answers."""
    answers = [
        send_message(address[0], address[1], message, timeout=timeout)
        for message in split_messages(message_file.read_bytes())
    ]
    if not answers:
        raise NotFound(f"{message_file.name} holds no HL7 message; give a file that begins with MSH")
    rows = [(item.code, item.control_id, item.text) for item in answers]
    answer(
        [item.model_dump(mode="json") for item in answers],
        as_json=as_json,
        text=lambda: table(("MSA-1", "MSA-2", "TEXT"), rows),
    )
