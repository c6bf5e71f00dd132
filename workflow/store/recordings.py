"""All queries on recordings, their links and their instances."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlmodel import Session, col, func, select

from models.errors import NotAllowed, NotFound
from models.match import LinkTable, Verdict
from models.plan import Check, ConversionPlan
from models.recording import Recording, RecordingState, RecordingTable, require_transition
from models.study import Instance, InstanceTable
from models.value import Value


class Decision(Value):
    """What is kept beside a link: the verdict it was made on, the plan and the checks that followed."""

    verdict: Verdict | None = None
    plan: ConversionPlan | None = None
    checks: tuple[Check, ...] = ()


class Recordings:
    """Recordings, links, instances."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def _write(self, row: RecordingTable, recording: Recording) -> None:
        row.state = recording.state.value
        row.path = recording.path
        row.sha256 = recording.sha256
        row.order_id = recording.order_id
        row.station = recording.station
        row.attempt = recording.attempt
        row.next_attempt_at = None
        row.updated_at = datetime.now(tz=UTC)
        row.body = recording.json_text()
        self._session.add(row)
        self._session.flush()

    def add(self, recording: Recording) -> None:
        """Write a new recording."""
        self._write(RecordingTable(id=recording.id, seen_at=recording.seen_at), recording)  # type: ignore[call-arg]

    def get(self, recording_id: str) -> Recording:
        """Return a recording.

        Raises:
            NotFound: No such recording.
        """
        row = self._session.get(RecordingTable, recording_id)
        if row is None:
            raise NotFound(f"no recording has the id {recording_id!r}; list them with GET /api/v1/recordings")
        return Recording.model_validate_json(row.body)

    def move(self, old: Recording, new: Recording) -> None:
        """Write a recording's next state.

        Raises:
            NotAllowed: The state is not what it was when it was read, or the step is not legal.
        """
        row = self._session.get(RecordingTable, old.id)
        if row is None or row.state != old.state.value or row.attempt != old.attempt:
            raise NotAllowed(f"recording {old.id} has moved on meanwhile; read it again")
        if new.state != old.state:
            require_transition(old.state, new.state)
        self._write(row, new)

    def postpone(self, recording: Recording, until: datetime) -> None:
        """Set when a recording's present step is tried again."""
        row = self._session.get_one(RecordingTable, recording.id)
        row.next_attempt_at = until
        self._session.add(row)
        self._session.flush()

    def due(self, now: datetime, *, limit: int = 100) -> tuple[Recording, ...]:
        """Return recordings whose step was postponed and is due."""
        query = select(RecordingTable).where(col(RecordingTable.next_attempt_at) <= now)
        return self._values(list(self._session.exec(query.limit(limit)).all()))

    def _values(self, rows: list[RecordingTable]) -> tuple[Recording, ...]:
        return tuple(Recording.model_validate_json(row.body) for row in rows)

    def newest(self, *, state: str = "", limit: int) -> tuple[Recording, ...]:
        """Return the newest recordings, of one state when given."""
        query = select(RecordingTable).order_by(col(RecordingTable.seen_at).desc()).limit(limit)
        if state:
            query = query.where(RecordingTable.state == state)
        return self._values(list(self._session.exec(query).all()))

    def in_states(self, states: frozenset[RecordingState], *, limit: int = 1000) -> tuple[Recording, ...]:
        """Return recordings in any of these states, oldest first."""
        query = select(RecordingTable).where(col(RecordingTable.state).in_([state.value for state in states]))
        return self._values(list(self._session.exec(query.order_by(col(RecordingTable.seen_at)).limit(limit)).all()))

    def of_order(self, order_id: str) -> tuple[Recording, ...]:
        """Return the recordings linked to an order."""
        query = select(RecordingTable).where(RecordingTable.order_id == order_id)
        return self._values(list(self._session.exec(query.order_by(col(RecordingTable.seen_at))).all()))

    def at_path(self, path: str) -> tuple[Recording, ...]:
        """Return the recordings that came from this path, newest first."""
        query = select(RecordingTable).where(RecordingTable.path == path).order_by(col(RecordingTable.seen_at).desc())
        return self._values(list(self._session.exec(query).all()))

    def with_bytes(self, sha256: str, *, but: str) -> tuple[Recording, ...]:
        """Return other recordings with the same bytes that were taken in, oldest first."""
        query = select(RecordingTable).where(RecordingTable.sha256 == sha256, RecordingTable.id != but)
        rows = list(self._session.exec(query.order_by(col(RecordingTable.seen_at))).all())
        aside = {RecordingState.REJECTED, RecordingState.DUPLICATE}
        return tuple(recording for recording in self._values(rows) if recording.state not in aside)

    def counts(self) -> dict[str, int]:
        """Return how many recordings are in each state."""
        query = select(RecordingTable.state, func.count()).group_by(RecordingTable.state)
        return dict(self._session.exec(query).all())

    def decide(self, recording: Recording, decision: Decision, *, actor: str, kind: str, reason: str) -> None:
        """Keep a decision about a recording; earlier ones stay."""
        self._session.add(
            LinkTable(
                recording_id=recording.id,
                order_id=recording.order_id,
                at=datetime.now(tz=UTC),
                actor=actor,
                kind=kind,
                reason=reason,
                body=decision.json_text(),
            )
        )
        self._session.flush()

    def decision(self, recording_id: str) -> Decision:
        """Return what is known of a recording's decisions: the newest verdict, plan and checks."""
        query = select(LinkTable).where(LinkTable.recording_id == recording_id).order_by(col(LinkTable.id))
        known = Decision()
        for row in self._session.exec(query).all():
            newer = Decision.model_validate_json(row.body)
            known = Decision(
                verdict=newer.verdict or known.verdict,
                plan=newer.plan or known.plan,
                checks=newer.checks or known.checks,
            )
        return known

    def save_instance(self, instance: Instance) -> None:
        """Write an instance; its SOP Instance UID is the key, so a repeat overwrites itself."""
        row = self._session.get(InstanceTable, instance.sop_uid) or InstanceTable(sop_uid=instance.sop_uid)  # type: ignore[call-arg]
        row.recording_id = instance.recording_id
        row.order_id = instance.order_id
        row.study_uid = instance.study_uid
        row.series_uid = instance.series_uid
        row.series_number = instance.series_number
        row.body = instance.json_text()
        self._session.add(row)
        self._session.flush()

    def instances_of(self, recording_id: str) -> tuple[Instance, ...]:
        """Return the instances made from a recording."""
        query = select(InstanceTable).where(InstanceTable.recording_id == recording_id)
        rows = self._session.exec(query.order_by(col(InstanceTable.sop_uid))).all()
        return tuple(Instance.model_validate_json(row.body) for row in rows)

    def instance(self, sop_uid: str) -> Instance:
        """Return an instance.

        Raises:
            NotFound: No such instance.
        """
        row = self._session.get(InstanceTable, sop_uid)
        if row is None:
            raise NotFound(f"no instance has the SOP Instance UID {sop_uid}")
        return Instance.model_validate_json(row.body)

    def next_series_number(self, order_id: str, series_uid: str) -> int:
        """Return the series' number within the order, the same at every repeat."""
        query = select(InstanceTable).where(InstanceTable.order_id == order_id)
        rows = self._session.exec(query).all()
        for row in rows:
            if row.series_uid == series_uid:
                return row.series_number
        return max((row.series_number for row in rows), default=0) + 1

    def published_paths(self) -> frozenset[str]:
        """Return the paths of all objects that a commit has published."""
        return frozenset(
            Instance.model_validate_json(body).path for body in self._session.exec(select(InstanceTable.body)).all()
        )
