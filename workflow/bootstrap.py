"""Composition root: settings in, the wired product out. The only place where everything is imported."""

from __future__ import annotations

import json
import logging
import socket
import threading
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import uvicorn

from converters.isolation import Limits
from converters.probe import completeness
from interfaces.fhir.client import FhirClient
from interfaces.files.watch import Watcher
from interfaces.hl7.mllp import MllpListener
from interfaces.web.app import create_app
from interfaces.web.desk import DoorHealth
from models.delivery import Backoff, DicomPeer
from models.errors import SettingsError
from models.mapping import DestinationRow
from models.match import MatchRule
from workflow.arrivals import Arrivals
from workflow.children import ChildRuns
from workflow.clock import Clock
from workflow.conversion import Conversion
from workflow.delivery import Delivering, dicom_peer
from workflow.desk import StoreDesk
from workflow.engine import BEAT_SECONDS, Engine, Queue
from workflow.intake import Intake
from workflow.matching import Matching
from workflow.notify import Sender
from workflow.settings import Settings
from workflow.store.database import Database
from workflow.store.unit_of_work import CommitHook, Store, no_hook
from workflow.tables import PublishedTables, publish_seed
from workflow.upkeep import Upkeep

log = logging.getLogger("cinelink.bootstrap")

#: Finished queue rows are kept so long.
QUEUE_DAYS = 7


class Product:
    """The whole engine in one process: doors, queues and clock."""

    def __init__(self, settings: Settings, *, hook: CommitHook = no_hook) -> None:
        self.settings = settings
        self.database = Database(settings.database.url)
        self.store = Store(self.database, hook=hook)
        self.tables = PublishedTables(self.store)
        self.engine = Engine(self.database, self.store, workers=settings.conversion.workers)
        self.clock = Clock()
        self.child = ChildRuns(limits_of(settings))
        backoff = Backoff(first=settings.delivery.first_retry_seconds, most=settings.delivery.most_retry_seconds)
        self.matching = Matching(self.store, self.tables, rule=rule_of(settings), child=self.child)
        self.conversion = Conversion(
            self.store,
            self.tables,
            objects=settings.data_dir / "objects",
            child=self.child,
            backoff=backoff,
            peer_of=self._peer,
            software=software(),
        )
        self.delivering = Delivering(
            self.store,
            self.tables,
            backoff=backoff,
            peer_of=self._peer,
            fhir_of=self._fhir,
            sender=Sender(
                application=settings.institution.sending_application, facility=settings.institution.sending_facility
            ),
        )
        self.intake = Intake(self.store, self.tables)
        self.watcher = Watcher(completeness, settings.files.quiet_seconds, stale_seconds=settings.files.stale_seconds)
        self.arrivals = Arrivals(self.store, self.watcher, settings.inbox)
        self.listener = MllpListener(
            settings.hl7.host,
            settings.hl7.port,
            self.intake,
            max_bytes=settings.hl7.max_message_bytes,
        )
        self.desk = StoreDesk(self.store, self.matching, self._doors)
        self._web: uvicorn.Server | None = None
        self._web_thread: threading.Thread | None = None
        self.ports: dict[str, int] = {}

    # --- peers ---------------------------------------------------------------------------------------------------

    def _peer(self, row: DestinationRow) -> DicomPeer:
        return dicom_peer(row, self.settings.dicom.ae_title)

    def _fhir(self, row: DestinationRow) -> FhirClient:
        return FhirClient(row.url, token=self.settings.secret(row.secret), timeout=row.timeout_seconds)

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bring the schema up to date, take over what was left, and open the doors."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        self.database.upgrade()
        publish_seed(self.store, self.settings.mappings.seed)
        self.engine.start(
            {
                "probe": self.matching.probe,
                "match": self.matching.match,
                "convert": self.conversion.convert,
                "deliver": self.delivering.deliver,
            }
        )
        upkeep = Upkeep(self.store, Queue(self.database))
        self.conversion.sweep(older_than=timedelta(hours=0 if self.database.embedded else 24))
        upkeep.reconcile()
        self.intake.start()
        self._open_doors()
        self._start_clock(upkeep)
        log.info("started", extra={"action": "engine.started", **{f"port_{k}": v for k, v in self.ports.items()}})

    def _start_clock(self, upkeep: Upkeep) -> None:
        self.clock.every(BEAT_SECONDS, "beat", self.engine.beat)
        self.clock.every(BEAT_SECONDS, "reap", self.engine.reap)
        self.clock.every(self.settings.files.scan_seconds, "scan", self.arrivals.scan)
        self.clock.every(0.5, "due", upkeep.wake_due)
        self.clock.every(60, "reconcile", upkeep.reconcile)
        self.clock.every(3600, "forget", self._forget)
        self.clock.start()

    def _forget(self) -> None:
        Queue(self.database).forget_finished(before=datetime.now(tz=UTC) - timedelta(days=QUEUE_DAYS))

    def _open_doors(self) -> None:
        self.ports["hl7"] = self.listener.start()
        listening = _bind(self.settings.http.host, self.settings.http.port)
        self.ports["http"] = listening.getsockname()[1]
        config = uvicorn.Config(create_app(self.desk), log_config=None, access_log=False, lifespan="off")
        self._web = uvicorn.Server(config)
        self._web_thread = threading.Thread(
            target=self._web.run, kwargs={"sockets": [listening]}, name="web", daemon=True
        )
        self._web_thread.start()
        self._write_ports()

    def _write_ports(self) -> None:
        """Write the ports whole or not at all, for scripts that wait for the file."""
        target = self.settings.data_dir / "ports.json"
        scratch = target.with_suffix(".new")
        scratch.write_text(json.dumps(self.ports))
        scratch.replace(target)

    def _doors(self) -> tuple[DoorHealth, ...]:
        stale = self.database.check()
        doors = [DoorHealth(name="database", ok=not stale, sentence=stale or "current")]
        doors += [
            DoorHealth(name=name, ok=True, sentence=f"listening on port {port}") for name, port in self.ports.items()
        ]
        doors += [DoorHealth(name="watch folders", ok=False, sentence=words) for words in self.watcher.problems]
        return tuple(doors)

    def stop(self) -> None:
        """Close the doors, finish what is at hand, and leave the rest for the next start."""
        self.child.running.terminate()
        self.clock.stop()
        self.listener.stop()
        self.intake.stop()
        if self._web and self._web_thread:
            self._web.should_exit = True
            self._web_thread.join(timeout=10)
        self.engine.stop()
        (self.settings.data_dir / "ports.json").unlink(missing_ok=True)
        self.database.dispose()


def software() -> str:
    """Return ``Cinelink`` with its version, as objects and messages name their maker."""
    return f"Cinelink {version('cinelink')}"


def limits_of(settings: Settings) -> Limits:
    """Return the limits of the child process."""
    return Limits(
        memory_bytes=settings.conversion.memory_mib * 1024 * 1024,
        cpu_seconds=settings.conversion.cpu_seconds,
        wall_seconds=settings.conversion.wall_seconds,
    )


def rule_of(settings: Settings) -> MatchRule:
    """Return the limits of an automatic link."""
    return MatchRule(least_probability=settings.matching.least_probability, least_margin=settings.matching.least_margin)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"http.port {port} on {host} cannot be opened ({error.strerror}): choose another, or 0 for a free one"
        ) from error
    return listening
