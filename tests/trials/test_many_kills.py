"""Promise 2 again, with chance: hundreds of SIGKILLs while orders and videos keep coming, and the same verified end.

CINELINK_TRIAL_KILLS and CINELINK_TRIAL_SEED choose how many and which. Half of the lives are armed to die at a commit;
the others, and those that do not reach theirs, are killed from outside.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.converters.clips import draw_clip
from tests.journeys.hospital import Hospital
from tests.journeys.site import Site, orm, wait_for
from tests.journeys.test_kill import COMMITS, _assert_end, _complete, own_clip

pytestmark = pytest.mark.trial

KILLS = int(os.environ.get("CINELINK_TRIAL_KILLS", "120"))
SEED = int(os.environ.get("CINELINK_TRIAL_SEED", "1"))

#: Seconds that a life lasts at most; the doors open after two or so.
LONGEST_LIFE = 6.0


@dataclass
class Campaign:
    """A site whose engine is killed again and again, and what its senders still have to send."""

    site: Site
    clip: Path
    chance: random.Random
    unsent: list[str] = field(default_factory=list)
    deaths: Counter[str] = field(default_factory=Counter)
    closed: int = 0
    _killed: bool = False

    def live_and_die(self, accession: str) -> None:
        """Run one life with a new order and a new video in it, to its violent end."""
        outside = self.chance.random() < 0.5
        moment = self.chance.choice(("before", "after"))
        point = f"{moment}:{self.chance.choice(COMMITS).split(':')[0]}:{self.chance.randint(1, 3)}"
        seconds = self.chance.uniform(0.3, LONGEST_LIFE) if outside else LONGEST_LIFE
        self.unsent.append(accession)
        sooner = self.chance.random() < 0.5
        if sooner:
            self._drop(accession)
        self._killed = False
        killer = threading.Timer(seconds, self._kill)
        killer.start()
        opened = self.site.start(kill="" if outside else point)
        self.closed += not opened
        if opened:
            self.unsent = [item for item in self.unsent if not self.site.send_until_answered(orm(item))]
        if not sooner:
            self._drop(accession)
        assert self.site.died(seconds=LONGEST_LIFE + 30)
        killer.cancel()
        killer.join()
        by_itself = not outside and not self._killed
        self.deaths[":".join(point.split(":")[:2]) if by_itself else "from outside"] += 1

    def _kill(self) -> None:
        process = self.site.process
        assert process is not None
        self._killed = process.poll() is None
        process.kill()

    def _drop(self, accession: str) -> None:
        clip = own_clip(self.clip, accession)
        self.site.drop(clip, clip.name)
        clip.unlink()


@pytest.mark.timeout(3600)
def test_many_kills_at_random_moments_end_in_the_same_verified_state(hospital: Hospital, tmp_path: Path) -> None:
    began = time.monotonic()
    clip = draw_clip(tmp_path / "clip.mp4", size=(320, 240), frames=25)
    site = Site(tmp_path / "site", hospital.destinations())
    assert site.start()
    site.kill()
    campaign = Campaign(site, clip, random.Random(SEED))  # noqa: S311 - chance that can be repeated
    accessions = [f"T{number:04d}" for number in range(KILLS)]
    for accession in accessions:
        campaign.live_and_die(accession)
    killed = time.monotonic() - began

    assert site.start()
    try:
        for accession in campaign.unsent:
            assert site.send_until_answered(orm(accession))
        complete = sum(_complete(site, accession) for accession in accessions)
        for accession in accessions:
            wait_for(f"{accession} to be complete", lambda a=accession: _complete(site, a), seconds=300)
    finally:
        site.kill()
    ended = time.monotonic() - began
    print(f"\n{KILLS} kills (seed {SEED}) in {killed:.0f} s, {campaign.closed} of them before the doors were open")
    for where, count in campaign.deaths.most_common():
        print(f"  {count:4d} {where}")
    notices = hospital.notices()
    print(
        f"{complete} of {KILLS} orders were complete after the last kill, all of them {ended - killed:.0f} s later; "
        f"{len(notices)} notices with {len({notice.control_id for notice in notices})} control ids"
    )
    _assert_end(hospital, accessions)
