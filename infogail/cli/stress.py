"""The command `infogail stress`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from infogail.cli.checks import at_least, check_known, given_mix
from infogail.envs.errors import BadInput

if TYPE_CHECKING:
    from infogail.stress.trials import Setting, Traffic

# Highway-env and other heavy packages are imported by the commands that need them, to keep --help fast.


@dataclass(frozen=True)
class Stress:
    """Test a planner among trained drivers of each style, and among highway-env's own, from the same starts."""

    planner: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PLANNER")]
    """A Stable-Baselines3 zip, which can run any code: open only your own; an ONNX file of the observation alone;
    module:function, which takes (observation) or (env, observation) and returns an action, or module:Class, of which
    each episode makes one, also from the current folder; idm, aggressive, defensive or linear, highway-env's drivers;
    or a run folder of highway or follow."""
    traffic: Path | None = None
    """Run folder of a driver of highway or follow; by default the newest such run under runs/."""
    environment: str = "highway-v0"
    """ID of a highway-env environment with other vehicles."""
    config: Path | None = None
    """JSON file with further settings of the environment, such as the planner's observation and action."""
    episodes: int = 100
    """Episodes in each kind of traffic."""
    seed: int = 0
    """Seed of the first start; the others count on from it."""
    seconds: float | None = None
    """Longest episode; by default that of the environment, or 40 s if it has none."""
    mix: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SHARE,SHARE,…")] = ()
    """Further mixes: relative frequencies of the codes, as 0.5,0.5,0,0, or of some by name, as
    tailgater=0.5,speeder=0.5."""
    only: tuple[str, ...] = ()
    """Kinds of traffic, such as idm, code_0 and mix; by default all."""
    max_crash_rate: float | None = None
    """Exit with status 1 if the planner crashes in a larger share of episodes in any kind of traffic."""
    max_at_fault_rate: float | None = None
    """The same for crashes that are its fault."""
    search: Annotated[int | None, tyro.conf.arg(metavar="BUDGET")] = None
    """Instead, search with so many episodes for starts and styles in which the planner fails, shrink the ten worst to
    the fewest cars that it takes, and write found.json and case-SEED.json; requires the extra 'search'."""
    repeat: Annotated[Path | None, tyro.conf.arg(metavar="CASE")] = None
    """Instead, drive a case-SEED.json again; exits with status 1 if the planner fails in it."""
    out: Path | None = None
    """Output folder: trials.jsonl, metrics.json, junit.xml and report.html; runs/stress-PLANNER by default. Trials in
    it are not driven again."""
    force: bool = False
    """Drive all trials anew."""
    json: bool = False
    """Print metrics.json instead of a table."""
    processes: int | None = None
    """Processes side by side; by default one per core. Results do not depend on it."""
    ray: str | None = None
    """Ray cluster to run on, auto or HOST:PORT; requires the extra 'dist'."""

    def run(self) -> None:
        at_least("--episodes", self.episodes, 1)
        at_least("--seed", self.seed, 0)
        limits = {"crash_rate": self.max_crash_rate, "at_fault_rate": self.max_at_fault_rate}
        given = {key: limit for key, limit in limits.items() if limit is not None}
        for key, limit in given.items():
            if not 0 <= limit <= 1:
                raise BadInput(f"--max-{key.replace('_', '-')} {limit:g}: give a share from 0 to 1")
        if self.seconds is not None:
            at_least("--seconds", self.seconds, 1)
        if self.processes is not None:
            at_least("--processes", self.processes, 1)
        if self.search is not None:
            at_least("--search", self.search, 1)
        planner = Path(self.planner) if Path(self.planner).exists() else self.planner
        if self.repeat is not None:
            return self.repeated(planner, self.repeat)
        from infogail.cli.runs import newest_run
        from infogail.envs.files import check_folder, write_atomically
        from infogail.runs.driver import load
        from infogail.stress.campaign import run_trials
        from infogail.stress.page import write_report
        from infogail.stress.results import junit, print_table, summarise, verdict, violations
        from infogail.stress.trials import Setting, check, kinds_of_traffic

        traffic = self.traffic or newest_run(lambda task: task.usable_as_traffic)
        driver = load(traffic)
        mixes = [given_mix(mix.split(",")) for mix in self.mix]
        kinds = self.chosen(kinds_of_traffic(traffic, mixes))
        setting = Setting(self.environment, self.settings(), self.seconds)
        out = self.out or Path("runs") / f"stress-{Path(self.planner.replace(':', '-')).stem}"
        check_folder(out)
        check(planner, setting, traffic, kinds)
        if self.search is not None:
            return self.searched(planner, traffic, setting, self.search, out)
        seeds = range(self.seed, self.seed + self.episodes)
        trials = run_trials(
            planner, traffic, setting, kinds, seeds, out, self.force, processes=self.processes, ray=self.ray
        )
        about = {
            "planner": self.planner,
            "environment": self.environment,
            "traffic": str(traffic),
            "seed": self.seed,
        }
        names = [kind.name for kind in kinds]
        result = about | {"kinds": names} | summarise(trials)
        text = json.dumps(result, indent=2)
        write_atomically(out / "metrics.json", f"{text}\n".encode())
        title = f"{self.planner} in {self.environment}, {self.episodes} starts"
        write_atomically(out / "junit.xml", junit(title, trials, result, given))
        write_report(
            out, planner, traffic, setting, kinds, trials, result, self.command(traffic), processes=self.processes
        )
        if self.json:
            print(text)
        else:
            print_table(title, result, names)
            print(verdict(self.planner, result, names, driver.labels))
            for file in ("report.html", "metrics.json", "junit.xml"):
                print(out / file)
        broken = violations(result, names, given)
        for line in broken:
            print(f"infogail: {line}", file=sys.stderr)
        if broken:
            sys.exit(1)

    def repeated(self, planner: str | Path, case: Path) -> None:
        """Drive `case` again, and say whether its outcome is the same."""
        from infogail.stress.search import repeat, same

        before, now = repeat(case, planner, self.traffic)
        print(replace(before, trial=now))
        if not same(before.trial, now):
            print(f"other than in {case}: {before}")
        if now.failed:
            sys.exit(1)

    def searched(self, planner: str | Path, traffic: Path, setting: Setting, budget: int, out: Path) -> None:
        """Write what a search finds."""
        from infogail.stress.search import search, write

        found, trials = search(planner, traffic, setting, budget, self.seed, processes=self.processes, ray=self.ray)
        result = write(out, found, trials, setting, planner, traffic)
        if self.json:
            print(json.dumps(result, indent=2))
            return
        print(f"{result['failed']} of {len(trials)} episodes fail")
        for case in found:
            print(case)
        print(out / "found.json")

    def chosen(self, kinds: list[Traffic]) -> list[Traffic]:
        """Those of `kinds` that --only names.

        Raises:
            BadInput: it names another.
        """
        names = [kind.name for kind in kinds]
        for name in self.only:
            check_known("kind of traffic", name, names)
        return [kind for kind in kinds if not self.only or kind.name in self.only]

    def command(self, traffic: Path) -> list[str]:
        """What drives the same planner in the same setting."""
        words = ["infogail", "stress", self.planner, "--environment", self.environment, "--traffic", str(traffic)]
        if self.config is not None:
            words += ["--config", str(self.config)]
        if self.seconds is not None:
            words += ["--seconds", f"{self.seconds:g}"]
        return words + (["--mix", *self.mix] if self.mix else [])

    def settings(self) -> dict[str, Any]:
        """The content of the file --config.

        Raises:
            BadInput: it is not a JSON object, or chooses the traffic.
        """
        if self.config is None:
            return {}
        try:
            found = json.loads(self.config.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInput(f"--config {self.config}: {error.strerror}; give a JSON file") from error
        except ValueError as error:
            raise BadInput(f"--config {self.config}: not JSON ({error}); correct it") from error
        if not isinstance(found, dict) or "other_vehicles_type" in found:
            raise BadInput(
                f"--config {self.config}: give an object of highway-env's settings, without other_vehicles_type"
            )
        return found
