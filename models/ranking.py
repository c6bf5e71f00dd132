"""``rank``: a recording meets its candidate orders; a pure function of values (DESIGN 7, clinical.md 3)."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from models.mapping import EvidenceRow, StationRow
from models.match import Candidate, Evidence, MatchRule, Verdict, VerdictKind
from models.order import NOT_LINKABLE, Order, OrderStatus
from models.recording import ORDER_GRADE, Claim, Recording

#: Time sources, best first. A recorder's clock beats the moment of arrival, which may be a nightly copy.
_TIME_GROUPS = ("container", "recorder", "sidecar", "arrival")

#: A time this far beyond the window, as a factor of it, is no longer "near".
_NEAR_FACTOR = 2


class Ratios:
    """The ``evidence`` table as a look-up; a pair without a row says nothing (ratio 1)."""

    def __init__(self, rows: Iterable[EvidenceRow]) -> None:
        self._rows: dict[tuple[str, str], EvidenceRow] = {(row.signal, row.outcome): row for row in rows}

    def evidence(self, signal: str, outcome: str, group: str, words: str) -> Evidence:
        """Return one piece of evidence with the table's ratio."""
        row = self._rows.get((signal, outcome))
        return Evidence(
            signal=signal,
            outcome=outcome,
            group=group,
            ratio=row.ratio if row else 1.0,
            contradiction=bool(row and row.contradiction),
            words=words,
        )


def plain(text: str) -> str:
    """Return a name for comparison: no case, no accents, letters only."""
    bare = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in bare if letter.isalpha())


def edit_distance(left: str, right: str) -> int:
    """Return the Levenshtein distance of two short texts."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def _order_values(order: Order) -> dict[str, str]:
    return {
        "accession": order.accession,
        "placer": order.placer.value if order.placer else "",
        "filler": order.filler.value if order.filler else "",
        "study_uid": order.study_uid,
        "scheduled_step_id": order.scheduled_step_id,
    }


def _identifier_evidence(claim: Claim, order: Order, ratios: Ratios) -> Evidence | None:
    held = _order_values(order)[claim.key]
    if not held:
        return None
    name = claim.key.replace("_", " ")
    if claim.value.strip() == held:
        return ratios.evidence(claim.key, "agrees", claim.group, f"the {claim.source} carries the order's {name}")
    return ratios.evidence(claim.key, "differs", claim.group, f"the {claim.source} carries another {name}")


def _patient_id_evidence(claim: Claim, order: Order, ratios: Ratios) -> Evidence | None:
    known = {order.patient.identifier.value, *(other.value for other in order.patient.others)}
    outcome = "agrees" if claim.value.strip() in known else "differs"
    words = "the order's patient id" if outcome == "agrees" else "another patient id"
    return ratios.evidence("patient_id", outcome, claim.group, f"the {claim.source} carries {words}")


def _name_evidence(claim: Claim, order: Order, ratios: Ratios) -> Evidence | None:
    said, held = plain(claim.value), plain(order.patient.name.family)
    if not said or not held:
        return None
    if said == held:
        return ratios.evidence("name", "agrees", claim.group, f"the {claim.source} carries the patient's surname")
    if edit_distance(said, held) <= max(1, len(held) // 5):
        return ratios.evidence("name", "near", claim.group, f"the {claim.source} carries a similar surname")
    return ratios.evidence("name", "differs", claim.group, f"the {claim.source} carries another surname")


def _birth_evidence(claim: Claim, order: Order, ratios: Ratios) -> Evidence | None:
    held = order.patient.birth_date
    if held is None:
        return None
    agrees = claim.value.replace("-", "") == held.strftime("%Y%m%d")
    words = "the patient's birth date" if agrees else "another birth date"
    return ratios.evidence(
        "birth_date", "agrees" if agrees else "differs", claim.group, f"the {claim.source} carries {words}"
    )


_OTHER_CLAIMS: dict[str, Callable[[Claim, Order, Ratios], Evidence | None]] = {
    "patient_id": _patient_id_evidence,
    "family": _name_evidence,
    "birth_date": _birth_evidence,
}


def _claim_evidence(recording: Recording, order: Order, ratios: Ratios) -> list[Evidence]:
    found: list[Evidence | None] = []
    for claim in recording.claims:
        if claim.key in ORDER_GRADE:
            found.append(_identifier_evidence(claim, order, ratios))
        elif reader := _OTHER_CLAIMS.get(claim.key):
            found.append(reader(claim, order, ratios))
    return [evidence for evidence in found if evidence]


def recording_times(recording: Recording) -> dict[str, datetime]:
    """Return every source's word on when the recording began, by group."""
    times: dict[str, datetime] = {}
    if recording.facts and recording.facts.created_at:
        times["container"] = recording.facts.created_at
    if recording.started_at:
        times["recorder"] = recording.started_at
    duration = recording.facts.duration if recording.facts else 0.0
    times["arrival"] = recording.seen_at - timedelta(seconds=duration)
    return times


def _time_evidence(recording: Recording, order: Order, station: StationRow | None, ratios: Ratios) -> list[Evidence]:
    if order.scheduled_at is None:
        return []
    early = timedelta(minutes=station.early_minutes if station else 60)
    late = timedelta(minutes=station.late_minutes if station else 240)
    found: list[Evidence] = []
    for group, began in recording_times(recording).items():
        gap = began - order.scheduled_at
        source = "moment of arrival" if group == "arrival" else f"{group} time"
        minutes = f"{abs(gap).total_seconds() / 60:.0f} min {'after' if gap >= timedelta() else 'before'} the schedule"
        if -early <= gap <= late:
            outcome = "agrees"
        elif -early * _NEAR_FACTOR <= gap <= late * _NEAR_FACTOR:
            outcome = "near"
        else:
            outcome = "differs"
        found.append(ratios.evidence("time", outcome, group, f"by the {source} it began {minutes}"))
    return sorted(found, key=lambda evidence: _TIME_GROUPS.index(evidence.group))


def _station_evidence(recording: Recording, order: Order, ratios: Ratios) -> list[Evidence]:
    if not recording.station or not order.station:
        return []
    if recording.station == order.station:
        return [ratios.evidence("station", "agrees", "station", f"it came from {order.station}, where it is scheduled")]
    words = f"it came from {recording.station}, the order is scheduled at {order.station}"
    return [ratios.evidence("station", "differs", "station", words)]


def _status_evidence(order: Order) -> list[Evidence]:
    if order.status not in NOT_LINKABLE:
        return []
    words = f"the order is {order.status}" + (f" ({order.status_reason})" if order.status_reason else "")
    return [Evidence(signal="status", outcome="differs", group="order", ratio=1.0, contradiction=True, words=words)]


def weigh(evidence: Sequence[Evidence]) -> float:
    """Return the log of the combined ratio: of one group the strongest support counts once, every doubt counts.

    Of several times only the best source weighs; the others are shown, and a disagreement is judged elsewhere.
    """
    total = 0.0
    best: dict[str, float] = {}
    times = [piece for piece in evidence if piece.signal == "time"][1:]
    for piece in evidence:
        if piece in times:
            continue
        if piece.ratio < 1:
            total += math.log(piece.ratio)
        else:
            best[piece.group] = max(best.get(piece.group, 0.0), math.log(piece.ratio))
    return total + sum(best.values())


def gather(recording: Recording, order: Order, station: StationRow | None, ratios: Ratios) -> tuple[Evidence, ...]:
    """Return all evidence for and against one order."""
    return (
        *_claim_evidence(recording, order, ratios),
        *_station_evidence(recording, order, ratios),
        *_time_evidence(recording, order, station, ratios),
        *_status_evidence(order),
    )


def _agreeing(evidence: Sequence[Evidence], *signals: str) -> list[Evidence]:
    return [piece for piece in evidence if piece.signal in signals and piece.outcome == "agrees"]


def _second_source(evidence: Sequence[Evidence], identifier: Evidence) -> bool:
    """Say whether a signal of another source supports the identifier: time, or name with birth date."""
    times = [piece for piece in evidence if piece.signal == "time"]
    off_station = any(piece.signal == "station" and piece.outcome == "differs" for piece in evidence)
    time_holds = any(piece.outcome == "agrees" and piece.group != identifier.group for piece in times)
    if time_holds and not off_station and not any(piece.outcome == "differs" for piece in times):
        return True
    names = {piece.group for piece in _agreeing(evidence, "name")} - {identifier.group}
    births = {piece.group for piece in _agreeing(evidence, "birth_date")} - {identifier.group}
    return bool(names & births)


def _started_here(order: Order, evidence: Sequence[Evidence], station: StationRow | None) -> bool:
    """Say whether station and time alone may link: opted in, and only with a start event (clinical.md 3)."""
    if station is None or not station.station_and_time_link or order.status != OrderStatus.IN_PROGRESS:
        return False
    times = [piece for piece in evidence if piece.signal == "time"]
    return bool(_agreeing(evidence, "station")) and bool(times) and all(piece.outcome == "agrees" for piece in times)


def _conflicting_claims(recording: Recording) -> list[str]:
    values: dict[str, set[str]] = {}
    for claim in recording.claims:
        if claim.key in ORDER_GRADE or claim.key in {"patient_id", "birth_date"}:
            values.setdefault(claim.key, set()).add(claim.value.strip().replace("-", ""))
    return [
        f"the recording carries two values for {key.replace('_', ' ')}"
        for key, found in values.items()
        if len(found) > 1
    ]


def _fits_another(recording: Recording, best: Order, orders: dict[str, Order], rule: MatchRule) -> bool:
    """Say whether another patient's order at this station fits the time clearly better than the best candidate."""
    if best.scheduled_at is None:
        return False
    began = next(iter(recording_times(recording).values()))
    gap = abs(began - best.scheduled_at)
    return any(
        abs(began - other.scheduled_at) + timedelta(minutes=rule.nearer_minutes) < gap
        for other in orders.values()
        if other.scheduled_at is not None
        and other.station == recording.station
        and other.patient.identifier.key != best.patient.identifier.key
        and other.status not in NOT_LINKABLE
    )


def _doubts(
    recording: Recording,
    ranked: Sequence[Candidate],
    orders: dict[str, Order],
    station: StationRow | None,
    rule: MatchRule,
) -> list[str]:
    """Return every reason why a person must decide; none means link."""
    if not ranked:
        return ["no order fits: none carries an identifier of this recording, and none was scheduled at its station"]
    best = ranked[0]
    doubts = [*recording.doubts, *_conflicting_claims(recording)]
    if _fits_another(recording, orders[best.order_id], orders, rule):
        doubts.append("another patient's order at this station fits the time better: was the recorder switched over?")
    doubts += [f"against the best candidate: {piece.words}" for piece in best.evidence if piece.contradiction]
    identifiers = _agreeing(best.evidence, *ORDER_GRADE)
    by_station = _started_here(orders[best.order_id], best.evidence, station)
    if not identifiers and not by_station:
        doubts.append("no order-grade identifier (accession, placer, filler, study or step) names the best candidate")
    elif identifiers and not any(_second_source(best.evidence, identifier) for identifier in identifiers):
        doubts.append("no second, independent source (time, or name with birth date) supports the identifier")
    if best.probability < rule.least_probability:
        doubts.append(f"the best candidate has {best.probability:.1%}, {rule.least_probability:.1%} is needed")
    if len(ranked) > 1 and best.probability - ranked[1].probability < rule.least_margin:
        doubts.append("two candidates are too close to each other")
    return doubts


def rank(
    recording: Recording,
    orders: Sequence[Order],
    *,
    station: StationRow | None,
    evidence_rows: Sequence[EvidenceRow],
    rule: MatchRule,
    mapping_version: int,
) -> Verdict:
    """Weigh every candidate and "none of these", and say whether the best one may be linked.

    Args:
        recording: With its claims, station, times and facts.
        orders: All orders that could own it.
        station: The row of the recording's station.
        evidence_rows: The ``evidence`` table.
        rule: The limits of an automatic link.
        mapping_version: Kept in the verdict.

    Returns:
        The verdict; its candidates are sorted, the most probable first.
    """
    ratios = Ratios(evidence_rows)
    gathered = {order.id: gather(recording, order, station, ratios) for order in orders}
    prior = math.log((1 - rule.prior_none) / len(orders)) if orders else 0.0
    weights = {order_id: prior + weigh(evidence) for order_id, evidence in gathered.items()}
    top = max([*weights.values(), math.log(rule.prior_none)])
    none = math.exp(math.log(rule.prior_none) - top)
    total = none + sum(math.exp(weight - top) for weight in weights.values())
    ranked = sorted(
        (
            Candidate(
                order_id=order.id,
                accession=order.accession,
                probability=math.exp(weights[order.id] - top) / total,
                evidence=gathered[order.id],
            )
            for order in orders
        ),
        key=lambda candidate: (-candidate.probability, candidate.order_id),
    )
    doubts = _doubts(recording, ranked, {order.id: order for order in orders}, station, rule)
    best = ranked[0] if ranked else None
    return Verdict(
        kind=VerdictKind.REVIEW if doubts else VerdictKind.LINK,
        order_id=best.order_id if best and not doubts else "",
        probability=best.probability if best else 0.0,
        none_probability=none / total,
        candidates=tuple(ranked),
        reasons=tuple(doubts) if doubts else tuple(piece.words for piece in ranked[0].evidence),
        mapping_version=mapping_version,
    )
