"""How a decoded picture becomes the planned one: progressive, upright, square pixels, limited-range SDR."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from av.filter import Graph
from av.video.frame import VideoFrame

from models.plan import ConversionPlan
from models.recording import StreamFacts

#: FFmpeg's numbers of the colour matrices that are kept as they are, with the scaler's names (H.264 table E-5).
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m"}
_WIDE_GAMUT = 9
_UNSPECIFIED = 2
_FULL_RANGE = 2
_HD_ROWS = 720
_TRANSFERS = {"pq": "smpte2084", "hlg": "arib-std-b67", "": "bt2020-10"}


@dataclass(frozen=True)
class Look:
    """How a decoded picture becomes the planned one: filters with arguments, and the colour tags of the result."""

    filters: tuple[tuple[str, str], ...]
    colour: tuple[int, int, int]

    @classmethod
    def of(cls, frame: VideoFrame, facts: StreamFacts, plan: ConversionPlan) -> Look:
        """Deinterlace, turn, scale to square pixels, bring colours to limited-range SDR."""
        colour, tags = _colour(frame, facts)
        filters = [
            *([("bwdif", "mode=send_frame:parity=auto:deint=all")] if facts.interlaced else []),
            *_turn(facts.rotation),
            *_size(frame, facts, plan, colour),
            ("format", "yuv420p"),
            ("setsar", "1"),
        ]
        return cls(tuple(filters), tags)


def _turn(rotation: int) -> list[tuple[str, str]]:
    return {
        90: [("transpose", "clock")],
        180: [("hflip", ""), ("vflip", "")],
        270: [("transpose", "cclock")],
    }.get(rotation, [])


def _size(frame: VideoFrame, facts: StreamFacts, plan: ConversionPlan, colour: str) -> list[tuple[str, str]]:
    """Scale into the planned size without distortion: what does not fill it is centred on black."""
    sideways = facts.rotation in (90, 270)
    width, height = (frame.height, frame.width) if sideways else (frame.width, frame.height)
    aspect = Fraction(facts.pixel_aspect.replace(":", "/"))
    shown = Fraction(width, height) * (1 / aspect if sideways else aspect)
    if aspect == 1 and abs(width - plan.width) <= 1 and abs(height - plan.height) <= 1:
        fit = (width, height)
    else:
        fit = (min(plan.width, round(plan.height * shown)), min(plan.height, round(plan.width / shown)))
        fit = (
            plan.width if plan.width - fit[0] <= 2 else fit[0] - fit[0] % 2,  # noqa: PLR2004 - rounding, no shape
            plan.height if plan.height - fit[1] <= 2 else fit[1] - fit[1] % 2,  # noqa: PLR2004
        )
    steps = [("scale", f"w={fit[0]}:h={fit[1]}:flags=bicubic+accurate_rnd+full_chroma_int:{colour}")]
    if fit != (plan.width, plan.height):
        steps.append(("format", "yuv420p"))
        steps.append(("crop", f"w=min(iw\\,{plan.width}):h=min(ih\\,{plan.height}):x=0:y=0"))
        steps.append(("pad", f"w={plan.width}:h={plan.height}:x=trunc((ow-iw)/4)*2:y=trunc((oh-ih)/4)*2"))
    return steps


def _colour(frame: VideoFrame, facts: StreamFacts) -> tuple[str, tuple[int, int, int]]:
    """Return the scaler's colour arguments and (matrix, primaries, transfer) of the result; range is always limited."""
    name = frame.format.name
    full = facts.full_range or int(frame.color_range) == _FULL_RANGE or name.startswith(("yuvj", "rgb", "bgr", "gbr"))
    span = f"in_range={'pc' if full else 'tv'}:out_range=tv"
    if facts.hdr or int(frame.color_primaries) == _WIDE_GAMUT:
        transfer = _TRANSFERS[facts.hdr]
        return (
            f"{span}:in_color_matrix=bt2020nc:in_primaries=bt2020:in_transfer={transfer}:out_color_matrix=bt709:"
            "out_primaries=bt709:out_transfer=bt709:intent=perceptual"
        ), (1, 1, 1)
    usual = 1 if facts.height >= _HD_ROWS else 6
    if name.startswith(("rgb", "bgr", "gbr", "pal")):
        return f"{span}:out_color_matrix={_MATRICES[usual]}", (usual, usual, usual)
    tagged = int(frame.colorspace)
    matrix = _MATRICES.get(tagged, _MATRICES[usual])
    tags = (tagged if tagged in _MATRICES else _UNSPECIFIED, int(frame.color_primaries), int(frame.color_trc))
    return f"{span}:in_color_matrix={matrix}:out_color_matrix={matrix}", tags


def build_graph(frame: VideoFrame, filters: tuple[tuple[str, str], ...]) -> Graph:
    """Return a configured graph for pictures like this one; the colours are named so that no filter has to guess."""
    graph = Graph()
    nodes = [
        graph.add(
            "buffer",
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000:"
            f"colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
        )
    ]
    nodes += [graph.add(name, arguments) for name, arguments in filters]
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    return graph
