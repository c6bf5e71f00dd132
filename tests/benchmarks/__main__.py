"""``make bench``: ratios beside a peer, taken in turn in one run. No verdict: a person reads them."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.benchmarks.passthrough import convert, passthrough
from tests.benchmarks.receiving import receiving
from tests.benchmarks.report import HEADING
from tests.benchmarks.storing import storing
from tests.benchmarks.videos import long_video


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--size-mb", type=int, default=500, help="the recording to convert (default %(default)s)")
    parser.add_argument("--object-mb", type=int, default=300, help="the object to send (default %(default)s)")
    parser.add_argument("--messages", type=int, default=1000, help="orders in each round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default %(default)s)")
    chosen = parser.parse_args()
    print(f"Medians of {chosen.rounds} rounds, in turn with the peer; memory is the most that one process held.")
    print(HEADING, flush=True)
    with tempfile.TemporaryDirectory(prefix="cinelink-bench-") as name:
        folder = Path(name)
        print(passthrough(long_video(folder / "recording.mp4", chosen.size_mb), chosen.rounds).line(), flush=True)
        sent = folder / "sent.dcm"
        convert(long_video(folder / "smaller.mp4", chosen.object_mb), sent)
        print(storing(sent, folder, chosen.rounds).line(), flush=True)
        for comparison in receiving(chosen.messages, folder, chosen.rounds):
            print(comparison.line(), flush=True)


if __name__ == "__main__":
    main()
