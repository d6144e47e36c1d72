"""The same decisions as the agent that was brought: live pymdp agents beside the bundles made of them.

What is measured. ``make parity`` gives pymdp 1.0.4 and 0.0.7.1 environments of their own; in each,
tests/parity builds live agents, one for each option, for pymdp's environments and its notebooks' models, and
300 seeded random models of 1 to 8 factors and 1 to 16 modalities, and exports each with its trace. Here each
is converted as a user would, and the bundle is run along the trace. *same*: every posterior within 1e-3 nats
of the agent's, at least 0.99 of the actions (ties aside) and all clear ones equal. *refused*: the line that
the user sees. There is no third outcome that holds.

Random models: clear decisions (a gap in probability above 0.05) that differ, in bundles that the converter
wrote, with the bits that it chose; models that it refused are counted. Draws: the frequencies of 10,000
actions of stochastic agents beside pymdp's probabilities, in standard errors.

Without ``--json``: a line for each option.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, arguments, at_most, show
from edge_agent import Population
from edge_agent.engine import Model
from edge_agent.engine.arrays import ModelArrays
from edge_agent.errors import EdgeAgentError, PlatformError
from edge_convert.bundle import agent_bundle
from edge_convert.bundle.job import Job
from edge_convert.measure.agent_fidelity import (
    TraceHistory,
    bundle_decisions,
    reference_decisions,
    trace_decisions,
)
from edge_convert.measure.decisions import Comparison, compare
from edge_convert.readers import pymdp_npz
from edge_convert.readers.agent_trace import AgentTrace

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "parity"
CODE = ROOT / "tests" / "parity"
SOURCES = {"jax": "parity-jax", "legacy": "parity-legacy", "legacy-1.x": "parity-jax", "random": "parity-jax"}
MAX_KL, MIN_AGREEMENT = 1e-3, 0.99
MAX_DIFFERENT = 1 / 2000
DRAWS, ERRORS = 10_000, 3.0
DRAWN = ("action_selection_stochastic", "action_selection_stochastic_marginal", "env_tmaze_stochastic")
STEPS = (0, 7, 13)


@dataclass(frozen=True)
class Outcome:
    """What became of one agent: ``same``, ``refused`` or ``different``, in words, and its figures if
    converted.
    """

    name: str
    verdict: str
    words: str
    factors: int = 0
    comparison: Comparison | None = None
    wide: tuple[str, ...] = ()


def outcome(path: Path, inference: str | None = None) -> Outcome:
    """Convert one exported agent, and run its bundle along its trace."""
    if path.suffix == ".refused":
        return Outcome(path.stem, "refused", path.read_text())
    source = pymdp_npz.read(path)
    factors = len(source.arrays.B)
    if source.trace is None:
        return Outcome(path.stem, "different", "exported without a trace", factors)
    try:
        order = Job(path, BUILD / f"{path.stem}.eab", "parity", inference=inference)
        conversion = agent_bundle.convert(order, "pymdp")
    except EdgeAgentError as error:
        return Outcome(path.stem, "refused", str(error).removeprefix(f"{path}: "), factors)
    arrays, history = conversion.source.arrays, TraceHistory.of_trace(source.trace)
    wanted = trace_decisions(arrays, source.trace)
    if inference is not None:  # the live agent iterates: only the reference has this inference
        wanted = reference_decisions(arrays, history)
    comparison = compare(arrays, wanted, bundle_decisions(arrays, conversion.model, history), path.stem)
    figures = comparison.figures()
    alike = float(comparison.alike.mean())
    same = (
        figures["max_posterior_kl"] <= MAX_KL and alike >= MIN_AGREEMENT and not figures["clear_differences"]
    )
    words = (
        f"KL {figures['max_posterior_kl']:.1e}, actions {figures['action_agreement']:.3f}"
        f" ({alike:.3f} with ties), clear {figures['clear_decisions'] - figures['clear_differences']}"
        f" of {figures['clear_decisions']}, {figures['ties']} ties"
    )
    wide = conversion.search.chosen.wide
    words += f", 16 bits: {', '.join(wide)}" if wide else ""
    return Outcome(path.stem, "same" if same else "different", words, factors, comparison, wide)


def live(kind: str) -> list[Path]:
    """Let the agents of an environment run; return what they left."""
    python = ROOT / "build" / SOURCES[kind] / "bin" / "python"
    if not python.exists():
        raise PlatformError(f"{python}: missing; `make parity` installs pymdp there")
    folder = BUILD / kind
    command = [str(python), "live.py", kind.partition("-")[0], str(folder)]
    done = subprocess.run(
        command, cwd=CODE, env=os.environ | {"JAX_PLATFORMS": "cpu"}, stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise PlatformError(f"{' '.join(command)}: status {done.returncode}")
    return sorted(p for p in folder.iterdir() if p.suffix in (".npz", ".refused"))


def outcomes(paths: list[Path]) -> Iterator[Outcome]:
    """Yield what becomes of each agent, two at a time."""
    with ProcessPoolExecutor(2) as pool:
        yield from pool.map(outcome, paths)


def options() -> Iterator[tuple[str, Outcome]]:
    """Yield the outcome of every option and environment, with the kind of its agent."""
    for kind in ("jax", "legacy", "legacy-1.x"):
        for one in outcomes(live(kind)):
            yield kind, one


def option_figures() -> Iterator[Figure]:
    """Yield what each option's bundle is off by, and that nothing is silent."""
    silent = 0
    for kind, one in options():
        case = f"{kind} {one.name}"
        silent += one.verdict == "different"
        if one.comparison is not None:
            yield at_most(case, "posterior KL", float(one.comparison.kl.max()), "nats", MAX_KL)
            alike = float(one.comparison.alike.mean())
            yield Figure(
                case, "equal actions", round(alike, 4), "", None, None, MIN_AGREEMENT, alike >= MIN_AGREEMENT
            )
        yield Figure(case, one.verdict, 1.0, "", None, None, None, one.verdict != "different")
    yield at_most("all", "neither same nor refused", silent, "options", 0)


def random_figures() -> Iterator[Figure]:
    """Yield the clear decisions of 300 random models that differ, for one factor and for several."""
    found = list(outcomes(live("random")))
    for case, chosen in (
        ("one factor", [one for one in found if one.factors == 1]),
        ("several factors", [one for one in found if one.factors > 1]),
    ):
        written = [one.comparison.figures() for one in chosen if one.comparison is not None]
        clear = sum(figures["clear_decisions"] for figures in written)
        different = sum(figures["clear_differences"] for figures in written)
        limit = 0.0 if case == "one factor" else MAX_DIFFERENT
        yield Figure(case, "models", len(chosen), "")
        yield Figure(case, "models refused", len(chosen) - len(written), "")
        yield Figure(case, "models with 16 bits", sum(bool(one.wide) for one in chosen), "")
        yield Figure(case, "clear decisions", clear, "")
        yield at_most(case, "clear decisions different", different / max(clear, 1), "", limit)
        yield Figure(
            case, "largest posterior KL", max((f["max_posterior_kl"] for f in written), default=0.0), "nats"
        )


def exact_figures() -> Iterator[Figure]:
    """Yield the same for the random models of several factors with exact inference, beside the reference."""
    paths = sorted(p for p in (BUILD / "random").iterdir() if not p.name.startswith("1x"))
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(_exact, paths))
    written = [one.comparison.figures() for one in found if one.comparison is not None]
    clear = sum(figures["clear_decisions"] for figures in written)
    yield Figure("exact inference", "models refused", len(found) - len(written), "")
    yield Figure("exact inference", "clear decisions", clear, "")
    different = sum(figures["clear_differences"] for figures in written)
    yield at_most("exact inference", "clear decisions different", different, "", 0)


def _exact(path: Path) -> Outcome:
    return outcome(path, "exact")


def draw_figures() -> Iterator[Figure]:
    """Yield how far the frequencies of stochastic agents' actions are from pymdp's, in standard errors."""
    for name in DRAWN:
        source = pymdp_npz.read(BUILD / "jax" / f"{name}.npz")
        if source.trace is None:
            raise PlatformError(f"{name}: exported without a trace")
        model = source.model(name)
        worst = max(_errors(model, source.arrays, source.trace, step) for step in STEPS)
        yield at_most(name, f"frequencies of {DRAWS:,} actions", worst, "standard errors", ERRORS)


def _errors(model: Model, arrays: ModelArrays, trace: AgentTrace, step: int) -> float:
    """Return the largest distance of an action's frequency from pymdp's probability, in standard errors."""
    history = TraceHistory.of_trace(trace)
    agents = Population(model, DRAWS, seed=step)
    for t in range(step + 1):
        chosen = agents.step(np.repeat(history.outcomes[t], DRAWS, axis=0))
        agents.act(np.repeat(history.executed[t], DRAWS, axis=0))
    worst = 0.0
    for f, probabilities in enumerate(_action_probabilities(arrays, trace.q_pi[step].astype(np.float64))):
        counted = np.bincount(chosen[:, f], minlength=len(probabilities)) / DRAWS
        usual = (probabilities > 1e-3) & (probabilities < 1 - 1e-3)
        error = np.sqrt(np.clip(probabilities * (1 - probabilities), 0, None) / DRAWS)
        worst = max(worst, float((np.abs(counted - probabilities)[usual] / error[usual]).max(initial=0.0)))
    return worst


def _action_probabilities(model: ModelArrays, q_pi: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the probability of each factor's actions as pymdp draws: in proportion to p^alpha."""
    first = model.policies[:, 0]

    def sharpened(p: NDArray[np.float64]) -> NDArray[np.float64]:
        logs = model.options.alpha * np.log(np.maximum(p, np.finfo(float).eps))
        e = np.exp(logs - logs.max())
        return np.asarray(e / e.sum())

    if model.options.sampling_mode == "full":
        drawn = sharpened(q_pi)
        return [_summed(first[:, f], drawn, n) for f, n in enumerate(model.num_controls)]
    return [sharpened(_summed(first[:, f], q_pi, n)) for f, n in enumerate(model.num_controls)]


def _summed(
    actions: NDArray[np.int64], probabilities: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    return np.asarray(np.bincount(actions, probabilities, count), np.float64)


CASES = {"options": option_figures, "random": random_figures, "exact": exact_figures, "draws": draw_figures}


def main() -> int:
    """Print a line for each option, or figures."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=CASES, nargs="+", default=list(CASES), help="parts (all)")
    given = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        for name in given.only:
            if name == "options" and not given.json:
                for kind, one in options():
                    print(f"{kind:<11} {one.name:<40} {one.verdict:<10} {one.words}", flush=True)
            else:
                show(CASES[name](), given.json)
    except EdgeAgentError as error:
        print(f"benchmarks.parity: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
