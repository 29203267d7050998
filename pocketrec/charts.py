"""The report's charts: Altair's, as SVG that stands in the page itself and follows its light and dark colours."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair as alt

WIDTH = 930  # pixels of a chart over the whole page
# Colours that stand for the page's own: each is replaced by a CSS variable once the chart is drawn.
INK, SOFT, LINE = "#010101", "#020202", "#030303"
MODEL, TEACHER, BASELINE, WARN = "#040404", "#050505", "#060606", "#070707"
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"  # the first measures the text here, all are as wide
_VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    LINE: "--line",
    MODEL: "--model",
    TEACHER: "--teacher",
    BASELINE: "--baseline",
    WARN: "--warn",
}
LIGHT = {  # of the page's variables, where there is no page
    "--ink": "#1b2430",
    "--soft": "#64707e",
    "--line": "#e1e6ec",
    "--model": "#1f6feb",
    "--teacher": "#8250df",
    "--baseline": "#8b96a3",
    "--warn": "#c4620b",
}
Row = Mapping[str, object]


def quality_chart(rows: Sequence[Row], title: str) -> str:
    """Models as points with their intervals, best first; rows: model, kind, value, low, high."""
    import altair as alt

    order = [row["model"] for row in sorted(rows, key=lambda row: -_number(row["value"]))]
    base = alt.Chart(alt.Data(values=list(rows))).encode(
        y=alt.Y("model:N", sort=order, title=None), color=_kinds("kind")
    )
    lines = base.mark_rule(strokeWidth=2.5).encode(
        x=alt.X("low:Q", title=f"NDCG@10, {title}", scale=alt.Scale(zero=True)), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(x="value:Q")
    labels = base.mark_text(align="left", dx=8, fontSize=11, color=SOFT).encode(
        x="high:Q", text=alt.Text("value:Q", format=".3f"), color=alt.value(SOFT)
    )
    return _svg(alt.layer(lines, points, labels).properties(width=255, height=22 * len(rows)))


def size_chart(rows: Sequence[Row]) -> str:
    """Size against quality; rows: name, kind, megabytes, value, low, high, and by how many pixels to lower the name."""
    import altair as alt

    base = alt.Chart(alt.Data(values=list(rows))).encode(
        x=alt.X(
            "megabytes:Q",
            title="megabytes",
            scale=alt.Scale(type="log", nice=False, padding=70),
            axis=alt.Axis(tickCount=6, format="~g"),
        ),
        color=_kinds("kind"),
    )
    y = alt.Y("low:Q", title="NDCG@10, all items", scale=alt.Scale(zero=False))
    lines = base.mark_rule(strokeWidth=2).encode(y=y, y2="high:Q")
    points = base.mark_point(filled=True, size=110, opacity=1).encode(y="value:Q")
    labels = [
        base.transform_filter(alt.datum.lift == lift)
        .mark_text(align="left", dx=9, dy=lift, fontSize=11)
        .encode(y="value:Q", text="name:N", color=alt.value(INK))
        for lift in sorted({int(_number(row["lift"])) for row in rows})
    ]
    return _svg(alt.layer(lines, points, *labels).properties(width=WIDTH - 130, height=230))


def trials_chart(rows: Sequence[Row]) -> str:
    """Trials of a tuning by their quality on all and on new items; rows: name, kind, all, new, cost in TFLOP."""
    import altair as alt

    kinds = {"chosen": TEACHER, "on the front": MODEL, "dominated": BASELINE, "stopped early": LINE}
    base = alt.Chart(alt.Data(values=list(rows))).encode(
        x=alt.X(
            "all:Q", title="NDCG@10, all items", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6, grid=False)
        ),
        y=alt.Y("new:Q", title="NDCG@10, new items", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6)),
    )
    points = base.mark_point(filled=True, opacity=0.9).encode(
        size=alt.Size(
            "cost:Q",
            title="TFLOP of a training",
            scale=alt.Scale(range=[40, 400]),
            legend=alt.Legend(titleColor=SOFT, symbolFillColor=SOFT, tickCount=4),
        ),
        color=alt.Color("kind:N", title=None, scale=alt.Scale(domain=list(kinds), range=list(kinds.values()))),
    )
    labels = base.mark_text(align="left", dx=10, dy=-6, fontSize=11, color=SOFT).encode(text="name:N")
    return _svg(alt.layer(points, labels).properties(width=WIDTH - 270, height=360))


def front_chart(rows: Sequence[Row]) -> str:
    """Size against loss with intervals; rows: recipe, kilobytes, loss, low, high, kind of chosen, front and other."""
    import altair as alt

    kinds = {"chosen": MODEL, "front": TEACHER, "other": BASELINE}
    base = alt.Chart(alt.Data(values=list(rows))).encode(
        x=alt.X("kilobytes:Q", title="kilobytes of model.tflite", scale=alt.Scale(type="log", nice=False, padding=70)),
        color=alt.Color("kind:N", scale=alt.Scale(domain=list(kinds), range=list(kinds.values())), legend=None),
    )
    y = alt.Y("low:Q", title="loss of NDCG@10 to the float model", axis=alt.Axis(format="%"))
    lines = base.mark_rule(strokeWidth=2).encode(y=y, y2="high:Q")
    points = base.mark_point(filled=True, size=110, opacity=1).encode(y="loss:Q")
    labels = (
        base.transform_filter(alt.datum.kind != "other")  # candidates crowd where sizes are alike; a table names them
        .mark_text(align="left", dx=9, dy=-8, fontSize=11)
        .encode(y="loss:Q", text="recipe:N", color=alt.value(INK))
    )
    return _svg(alt.layer(lines, points, labels).properties(width=WIDTH - 230, height=260))


def latency_chart(rows: Sequence[Row]) -> str:
    """From the median to the 99th percentile; rows: name, p50, p99."""
    import altair as alt

    base = alt.Chart(alt.Data(values=list(rows))).encode(y=alt.Y("name:N", title=None, sort=None))
    lines = base.mark_rule(strokeWidth=7, opacity=0.35, color=MODEL).encode(
        x=alt.X("p50:Q", title="milliseconds of one call, median to 99th percentile", scale=alt.Scale(zero=True)),
        x2="p99:Q",
    )
    points = base.mark_point(filled=True, size=90, opacity=1, color=MODEL).encode(x="p50:Q")
    labels = base.mark_text(align="left", dx=8, fontSize=11, color=SOFT).encode(x="p99:Q", text="label:N")
    return _svg(alt.layer(lines, points, labels).properties(width=WIDTH - 330, height=34 * len(rows)))


def timeline_chart(stretches: Sequence[Row], moments: Sequence[Row], lanes: Sequence[str]) -> str:
    """One phone's life; stretches: lane, from, to in milliseconds since 1970; moments: lane, at, size."""
    import altair as alt

    y = alt.Y("lane:N", sort=list(lanes), title=None, scale=alt.Scale(domain=list(lanes)))
    time = alt.X("from:T", title=None, axis=alt.Axis(format="%d %b", tickCount=10, grid=True))
    bars = (
        alt.Chart(alt.Data(values=list(stretches)))
        .mark_bar(height=13, cornerRadius=3, color=WARN, opacity=0.55)
        .encode(x=time, x2="to:T", y=y)
    )
    points = (
        alt.Chart(alt.Data(values=list(moments)))
        .mark_point(filled=True, opacity=0.75)
        .encode(
            x=alt.X("at:T"),
            y=y,
            size=alt.Size("count:Q", scale=alt.Scale(range=[35, 240]), legend=None),
            color=alt.Color("colour:N", scale=None),
            shape=alt.Shape("shape:N", scale=None),
        )
    )
    return _svg(alt.layer(bars, points).properties(width=WIDTH - 150, height=31 * len(lanes)))


def channel_chart(rows: Sequence[Row]) -> str:
    """How a profile's orders reached the server, as one bar; rows: channel, orders, colour."""
    import altair as alt

    order = [row["channel"] for row in rows]
    bar = (
        alt.Chart(alt.Data(values=list(rows)))
        .mark_bar(height=22, cornerRadius=3)
        .encode(
            x=alt.X("orders:Q", stack="zero", title="orders", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color(
                "channel:N",
                sort=order,
                scale=alt.Scale(domain=order, range=[row["colour"] for row in rows]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            order=alt.Order("rank:Q"),
        )
    )
    return _svg(bar.properties(width=WIDTH - 60, height=34))


def steps_chart(rows: Sequence[Row]) -> str:
    """Seconds and memory of each step; rows: step, seconds, gigabytes."""
    import altair as alt

    order = [row["step"] for row in rows]
    charts = []
    for field, title, form in (("seconds", "seconds", ",.0f"), ("gigabytes", "GB of memory at most", ".1f")):
        base = alt.Chart(alt.Data(values=list(rows))).encode(
            y=alt.Y("step:N", sort=order, title=None), x=alt.X(f"{field}:Q", title=title)
        )
        bars = base.mark_bar(height=14, cornerRadiusEnd=3, color=MODEL if field == "seconds" else TEACHER)
        labels = base.mark_text(align="left", dx=5, fontSize=11, color=SOFT).encode(
            text=alt.Text(f"{field}:Q", format=form)
        )
        charts.append(alt.layer(bars, labels).properties(width=(WIDTH - 260) / 2, height=23 * len(rows)))
    return _svg(alt.hconcat(*charts, spacing=40))


def _kinds(field: str) -> "alt.Color":
    import altair as alt

    kinds = {"on the device": MODEL, "teacher": TEACHER, "baseline": BASELINE}
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=list(kinds), range=list(kinds.values())), legend=None)


def _number(value: object) -> float:
    return float(str(value))


def standalone(svg: str) -> str:
    """A chart as a file of its own, in the page's light colours."""
    for variable, colour in LIGHT.items():
        svg = svg.replace(f"var({variable})", colour)
    return svg


def _svg(chart: "alt.LayerChart | alt.Chart | alt.HConcatChart") -> str:
    """The chart as an <svg> element that scales with the page."""
    styled = (
        chart.configure(background="transparent", font=FONT)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK,
            titleColor=SOFT,
            gridColor=LINE,
            domainColor=LINE,
            tickColor=LINE,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            labelLimit=220,
        )
        .configure_legend(labelColor=INK, titleColor=SOFT, labelFontSize=12)
        .configure_axisY(grid=False, domain=False, ticks=False, labelPadding=8)
    )
    buffer = io.StringIO()
    styled.save(buffer, format="svg")
    drawn = buffer.getvalue()
    for colour, variable in _VARIABLES.items():
        drawn = drawn.replace(colour, f"var({variable})")
    # The size in pixels becomes the most: on a narrow screen the picture shrinks.
    return re.sub(
        r'<svg ([^>]*?)width="([\d.]+)" height="[\d.]+"', r'<svg \1style="max-width: \2px" width="100%"', drawn, count=1
    )
