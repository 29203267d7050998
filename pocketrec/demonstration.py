"""The whole way end to end, and what is said and checked at its end."""

from dataclasses import dataclass
from pathlib import Path

from contracts.errors import CheckFailed, ConfigError
from contracts.project import Federated, Identification, Project
from export.durable import write_durably
from pocketrec.exporting import check_parity
from pocketrec.output import encode
from pocketrec.pipeline import STEPS
from pocketrec.private_steps import is_private
from pocketrec.progress import Progress
from pocketrec.project_file import ProjectFile, read_project
from pocketrec.quality import bars
from pocketrec.results import Results, load_results
from pocketrec.run_directory import open_run
from pocketrec.steps import run_steps

DEMO = Project(
    project=Identification(name="demo"),
    # Simulated people: trying the demo again and again with changed code must not end at a spent budget.
    federated=Federated(epsilon_budget=100.0),
)
REPORT_JSON, REPORT_HTML = "report.json", "report.html"


@dataclass(frozen=True)
class Demonstration:
    """A finished demo."""

    results: Results
    report: dict[str, object]
    json_path: Path
    html_path: Path
    reused: bool

    def check(self) -> None:
        """Raises CheckFailed if something was lost or counted twice, or an export does not rank as its model."""
        count = self.results.simulation.count
        if count.lost or count.double_counted:
            raise CheckFailed(f"{count.lost} events were lost and {count.double_counted} counted twice by the fleet")
        check_parity(self.results.export)


def demonstrate(project: Path | None, run: Path | None) -> Demonstration:
    """Run every step where something changed, and write both reports into the run directory.

    Args:
        project: a project file; by default the demo's own settings on the embedded data.
        run: the run directory; by default the project's usual one.

    Raises:
        ConfigError: if the project trains privately, or has no phones.
    """
    from pocketrec.report_html import render_report
    from pocketrec.report_json import build_report

    file = read_project(project) if project else ProjectFile(DEMO, Path())
    if is_private(file.project):
        raise ConfigError(
            '[privacy] training = "private": the demo goes on from newer weeks without privacy; run pocketrec build'
        )
    if not file.project.fleet.phones:
        raise ConfigError(
            "phones = 0 under [fleet]: the demo is of phones; set phones to 1 or more, or run pocketrec build"
        )
    with open_run(run or file.default_run) as directory:
        outcomes = run_steps(STEPS, directory, file, Progress())
        results = load_results(directory, file.project, {name: each.record for name, each in outcomes.items()})
        report = build_report(results)
        done = Demonstration(
            results=results,
            report=report,
            json_path=directory.path / REPORT_JSON,
            html_path=directory.path / REPORT_HTML,
            reused=all(outcome.reused for outcome in outcomes.values()),
        )
        write_durably(done.json_path, encode(report))
        write_durably(done.html_path, render_report(results, report).encode())
    return done


def summary(done: Demonstration) -> dict[str, object]:
    """The short table that the demo ends with."""
    results = done.results
    met = bars(results.comparison)
    told = {}
    for task, found in results.comparison.items():
        difference = found["relative_difference"]
        told[f"{task} against {found['best_baseline']}"] = (
            f"{difference['value']:+.1%} [{difference['low']:+.1%}, {difference['high']:+.1%}], "
            f"bar {'met' if met[task] else 'not met'}"
        )
    tflite = results.export.artifacts["model.tflite"]
    latency = f", {tflite.latency_ms.p50:.2f} ms a call on this {results.export.host}" if tflite.latency_ms else ""
    count = results.simulation.count
    return {
        **told,
        "model.tflite": f"{tflite.bytes / 1e6:.2f} MB{latency}",
        "fp32 parity": f"{min(each.same_top_10 for each in results.export.parity.fp32.values()):.1%} the same top 10",
        "fleet": f"{count.created:,} events, {count.lost} lost, {count.double_counted} counted twice",
        "federated round": f"epsilon {results.federation.report.epsilon:.2f}, {results.federation.gate.reason}",
        "next bundle": f"version {results.rollout.published.version}, "
        f"{results.rollout.patched} phones by patch, {results.rollout.whole} whole",
        "seconds": round(sum(results.seconds.values()), 1),
        "report": str(done.html_path),
        "figures": str(done.json_path),
    }
