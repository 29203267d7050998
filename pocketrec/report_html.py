"""`report.html`: a run for people to look at, in one page that needs nothing else."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from contracts.bundle import TFLITE
from contracts.summary import fading_count, item_activities
from device_sim.phone import Moment, TimelineEntry
from device_sim.plan import Basket
from export.templates import estimate, size
from pocketrec import charts
from pocketrec.households import fleet_plan
from pocketrec.model_steps import TRAIN
from pocketrec.quality import ALL_ITEMS, BARS, BASELINES, NEW_ITEMS, bars
from pocketrec.recipe_search import front_rows
from pocketrec.results import Results
from training.protocols import TASKS

DEVICE_FLOAT = "device_float"
LANES: dict[Moment, tuple[str, str, str]] = {  # lane, colour and shape of each kind of moment
    Moment.SYNC: ("sync", charts.MODEL, "circle"),
    Moment.LOST_ANSWER: ("answer lost", charts.WARN, "cross"),
    Moment.RESEND: ("sent again", charts.WARN, "circle"),
    Moment.PROFILE: ("profile received", charts.TEACHER, "circle"),
    Moment.RECOMMEND: ("recommends", charts.INK, "diamond"),
    Moment.BASKET: ("buys", charts.INK, "circle"),
    Moment.BUNDLE: ("bundle", charts.MODEL, "square"),
    Moment.ERASED: ("forgotten", charts.WARN, "square"),
    Moment.ROUND: ("federated round", charts.TEACHER, "diamond"),
}
OFFLINE_LANE = "offline"
TOP_ITEMS = 8
FLOW = ("phone", "till", "both")
FLOW_WORDS = {"phone": "phone only", "till": "till only", "both": "seen by both, counted once"}
METHOD_WORDS = {
    "kmeans": "k-means",
    "hierarchical": "Ward's hierarchical clustering",
    "deep_embedded": "Deep Embedded Clustering",
}
KIND_DEVICE, KIND_TEACHER, KIND_BASELINE = "on the device", "teacher", "baseline"


def render_report(results: Results, report: Mapping[str, object]) -> str:
    """The page.

    Args:
        results: of the run.
        report: what `pocketrec.report_json.build_report` made of them.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": size, "percent": lambda value: f"{value:+.1%}", "count": lambda value: f"{value:,}"}
    simulation, federation, rollout = results.simulation, results.federation, results.rollout
    login = simulation.report.timeline_login
    timeline = _timeline(results, login)
    return environment.get_template("report.html.j2").render(
        report=report,
        export=results.export,
        simulation=simulation,
        federation=federation,
        rollout=rollout,
        rollout_quality={
            name: (estimate(found.ndcg_at_10), estimate(found.new_items_ndcg_at_10))
            for name, found in (("before", rollout.before), ("next", rollout.quality))
        },
        published=results.published,
        model=results.export.artifacts[TFLITE],
        name=results.project.project.name,
        verdicts=_verdicts(results),
        bars={
            task: (bar, met) for (task, bar), met in zip(BARS.items(), bars(results.comparison).values(), strict=True)
        },
        charts=_charts(results, timeline),
        models=_models(results),
        segments=_segments(results),
        segmentation=results.prepared.segments,
        method=METHOD_WORDS[results.prepared.segments.method] if results.prepared.segments else "",
        profile=_profile(results, login),
        story=_story(timeline),
        currency=results.prepared.record.currency,
        task=TASKS[results.prepared.record.protocol],
        origin=results.prepared.record.origin,
        counts=results.prepared.record.counts,
        device_float=DEVICE_FLOAT,
        search=results.search,
        rows_of_front=front_rows(results.search) if results.search else [],
        blamed=results.blamed,
    )


def _verdicts(results: Results) -> list[tuple[bool, str, str]]:
    """Every bar: whether it is met, what it asks, and what was measured."""
    met, found = bars(results.comparison), []
    asks = {
        ALL_ITEMS: "All items: not worse than the best baseline (lower bound above -2 %)",
        NEW_ITEMS: "New items: better than the best baseline (lower bound above 0)",
    }
    for task, question in asks.items():
        stated = results.comparison[task]["relative_difference"]
        measured = (
            f"{stated['value']:+.1%} [{stated['low']:+.1%}, {stated['high']:+.1%}] against "
            f"{_words(results.comparison[task]['best_baseline'])}, {_p_value(results.comparison[task]['p_value'])}"
        )
        found.append((met[task], question, measured))
    fp32 = results.export.parity.fp32
    worst = min(each.same_top_10 for each in fp32.values())
    found.append(
        (worst >= 0.99, "Parity: fp32 exports rank as the model on 99 % of real histories", f"{worst:.1%} at worst")
    )
    count = results.simulation.count
    found.append(
        (
            not (count.lost or count.double_counted),
            "Sync: nothing lost, nothing counted twice",
            f"{count.created:,} events, {count.lost} lost, {count.double_counted} twice",
        )
    )
    return found


def _p_value(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _models(results: Results) -> list[dict[str, object]]:
    """Every model's metrics, the best on all items first."""
    ranked = sorted(results.quality.items(), key=lambda pair: -pair[1]["ndcg_at_10"]["value"])
    return [{"name": _words(name), "kind": _kind(name), **found} for name, found in ranked]


def _segments(results: Results) -> list[dict[str, object]]:
    """Every segment: what model.tflite reaches there, against the baseline that is best there; or why not."""
    rows: list[dict[str, object]] = []
    for name, found in results.segments.items():
        row: dict[str, object] = {"name": name, "test_people": found["test_people"], "note": found.get("note", "")}
        if "quality" in found:
            ours = found["quality"][TFLITE]
            for task, reached in ((ALL_ITEMS, ours["ndcg_at_10"]), (NEW_ITEMS, ours["new_items"]["ndcg_at_10"])):
                compared = found["comparison"][task]
                row[task] = {
                    "value": reached["value"],
                    "best": _words(compared["best_baseline"]),
                    **{end: compared["relative_difference"][end] for end in ("low", "high")},
                }
        rows.append(row)
    return rows


def _words(name: str) -> str:
    return name.replace("_", " ")


def _kind(name: str) -> str:
    if name in BASELINES:
        return KIND_BASELINE
    return KIND_TEACHER if name == "teacher" else KIND_DEVICE


def _charts(results: Results, timeline: list[TimelineEntry]) -> dict[str, str]:
    drawn = {
        "all_items": charts.quality_chart(
            [_row(name, found["ndcg_at_10"]) for name, found in results.quality.items()], "all items"
        ),
        "new_items": charts.quality_chart(
            [_row(name, found["new_items"]["ndcg_at_10"]) for name, found in results.quality.items()], "new items"
        ),
        "size": charts.size_chart(_sizes(results)),
        "latency": charts.latency_chart(
            [
                {
                    "name": name,
                    "p50": each.latency_ms.p50,
                    "p99": each.latency_ms.p99,
                    "label": f"{each.latency_ms.p50:.2f} / {each.latency_ms.p99:.2f} ms, {each.evaluator}",
                }
                for name, each in results.export.artifacts.items()
                if each.latency_ms
            ]
        ),
        "steps": charts.steps_chart(
            [
                {"step": name, "seconds": record.seconds, "gigabytes": record.peak_memory_bytes / 1e9}
                for name, record in results.records.items()
            ]
        ),
    }
    if results.search is not None:
        drawn["front"] = charts.front_chart(front_rows(results.search))
    return drawn | {"timeline": _timeline_chart(timeline)}


def _row(name: str, found: Mapping[str, float]) -> dict[str, object]:
    return {"model": _words(name), "kind": _kind(name), **found}


def _sizes(results: Results) -> list[dict[str, object]]:
    """What has both a size and a measured quality: the teacher, the device model in float32, and what ships."""
    teacher = results.run.folder(TRAIN.name) / "teacher.pt"
    measured = {
        "teacher": (teacher.stat().st_size, "teacher", -10),
        "device model, float32": (results.export.fp32_bytes[TFLITE], DEVICE_FLOAT, -10),
    }
    lifts = (-10, 12)
    for name, lift in zip((name for name in results.export.artifacts if name in results.quality), lifts, strict=False):
        measured[name] = (results.export.artifacts[name].bytes, name, lift)
    return [
        {
            "name": name,
            "kind": _kind(model),
            "megabytes": stored / 1e6,
            "lift": lift,
            **results.quality[model]["ndcg_at_10"],
        }
        for name, (stored, model, lift) in measured.items()
    ]


def _timeline(results: Results, login: str) -> list[TimelineEntry]:
    """What one phone lived through over all steps."""
    later = (results.federation.timelines, results.rollout.timelines)
    return [*results.simulation.report.timeline, *(entry for each in later for entry in each.get(login, ()))]


def _timeline_chart(timeline: list[TimelineEntry]) -> str:
    end = max(entry.at_ms for entry in timeline)
    stretches, since = [], None
    for entry in timeline:
        if entry.kind is Moment.OFFLINE:
            since = entry.at_ms
        elif entry.kind is Moment.ONLINE and since is not None:
            stretches.append({"lane": OFFLINE_LANE, "from": since, "to": entry.at_ms})
            since = None
    if since is not None:
        stretches.append({"lane": OFFLINE_LANE, "from": since, "to": end})
    moments = [
        {"lane": lane, "at": entry.at_ms, "count": max(entry.count, 1) if shape == "circle" else 1}
        | {"colour": colour, "shape": shape}
        for entry in timeline
        if entry.kind in LANES
        for lane, colour, shape in [LANES[entry.kind]]
    ]
    return charts.timeline_chart(stretches, moments, [OFFLINE_LANE, *(lane for lane, _, _ in LANES.values())])


def _story(timeline: list[TimelineEntry]) -> dict[str, object]:
    """The same life in numbers, and its rarer moments in words."""
    counted = Counter(entry.kind.value for entry in timeline)
    rare = [_readable(entry.text) for entry in timeline if entry.kind in (Moment.BUNDLE, Moment.ROUND)]
    return {"counts": dict(counted), "moments": rare}


def _readable(text: str) -> str:
    """An entry with a round's long number cut short, and the digits of large numbers in groups."""
    short = re.sub(r"\b([0-9a-f]{8})[0-9a-f]{24}\b", r"\1", text)
    return re.sub(r"\b\d{5,7}\b", lambda found: f"{int(found[0]):,}", short)


def _profile(results: Results, login: str) -> dict[str, object]:
    """One person's unified profile, as their phone holds it: which channels flowed together, and what it knows."""
    plan = fleet_plan(results.prepared, results.seed)
    home = next(home for home in plan.households if home.login == login)
    summary = results.simulation.report.profiles[login]
    items = results.prepared.items
    place = {item: number for number, item in enumerate(items.item_id)}
    now = plan.ends_ms // 3_600_000
    ranked = sorted(item_activities(summary).items(), key=lambda pair: -fading_count(pair[1].weights, now))[:TOP_ITEMS]
    orders = _flow(home.baskets, summary.orders)
    colours = {"phone": charts.MODEL, "till": charts.BASELINE, "both": charts.TEACHER}
    return {
        "login": login,
        "phone_owner": _short(home.login),
        "till_owner": _short(home.card),
        "orders": len(summary.orders),
        "items": len(item_activities(summary)),
        "top": [
            {
                "name": items.name[place[item]].title() or item,
                "category": items.category[place[item]].title(),
                "count": fading_count(activity.weights, now),
                "days": (now - activity.last_hour) / 24,
            }
            for item, activity in ranked
            if item in place
        ],
        "chart": charts.channel_chart(
            [
                {"channel": FLOW_WORDS[channel], "orders": orders[channel], "rank": rank, "colour": colours[channel]}
                for rank, channel in enumerate(FLOW)
            ]
        ),
        "flow": {FLOW_WORDS[channel]: orders[channel] for channel in FLOW},
        "household": home.household_id,
    }


def _short(owner: str) -> str:
    """An owner's kind and the beginning of their pseudonym."""
    kind, _, value = owner.partition(":")
    return f"{kind} {value[:8]}"


def _flow(baskets: Iterable[Basket], held: Mapping[str, object]) -> Counter[str]:
    """Orders of a profile by the channels that saw them."""
    return Counter(basket.channel for basket in baskets if basket.order_id in held)
