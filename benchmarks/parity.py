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

Agents that learn are in ``learned_parity``; they are not converted yet, as ``export_pymdp`` refuses them.

Without ``--json``: a line for each option.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks import learned_parity
from benchmarks.figures import Figure, arguments, at_least, at_most, show
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
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": str(BUILD / "compiled"),  # the agents run; only XLA's work is kept
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


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


def live(kind: str) -> Iterator[Path]:
    """Let the agents of an environment run; yield what each of them leaves as soon as it is there."""
    python = ROOT / "build" / SOURCES[kind] / "bin" / "python"
    if not python.exists():
        raise PlatformError(f"{python}: missing; `make parity` installs pymdp there")
    folder = BUILD / kind
    shutil.rmtree(folder, ignore_errors=True)
    command = [str(python), "live.py", kind.partition("-")[0], str(folder)]
    with subprocess.Popen(
        command, cwd=CODE, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as agents:
        assert agents.stdout is not None
        for line in agents.stdout:
            path = folder / f"{line.strip()}.npz"
            yield path if path.exists() else path.with_suffix(".refused")
    if agents.returncode:
        raise PlatformError(f"{' '.join(command)}: status {agents.returncode}")


@contextmanager
def converters() -> Iterator[ProcessPoolExecutor]:
    """Two processes that convert, while the live agents run in a third."""
    with ProcessPoolExecutor(2, initializer=threadpool_limits, initargs=(1,)) as pool:
        yield pool


def options(kind: str) -> Iterator[Outcome]:
    """Yield the outcome of every option and environment of a kind of agents."""
    with converters() as pool:
        yield from pool.map(outcome, live(kind))


def option_figures(kind: str) -> Iterator[Figure]:
    """Yield what each option's bundle is off by, and that nothing is silent."""
    silent = 0
    for one in options(kind):
        silent += one.verdict == "different"
        if one.comparison is not None:
            yield at_most(one.name, "posterior KL", float(one.comparison.kl.max()), "nats", MAX_KL)
            yield at_least(one.name, "equal actions", float(one.comparison.alike.mean()), "", MIN_AGREEMENT)
        yield Figure(one.name, one.verdict, 1.0, "", holds=one.verdict != "different")
    yield at_most("all", "neither same nor refused", silent, "options", 0)


def jax_figures() -> Iterator[Figure]:
    """Yield the options of pymdp 1.x, and how its stochastic agents draw."""
    yield from option_figures("jax")
    yield from draw_figures()


def random_figures() -> Iterator[Figure]:
    """Yield the clear decisions of 300 random models that differ: one factor, several, exact inference."""
    with converters() as pool:
        started = [(pool.submit(outcome, path), pool.submit(exact_outcome, path)) for path in live("random")]
        found = [iterated.result() for iterated, _ in started]
        exact = [one for one in (other.result() for _, other in started) if one.factors > 1]
    for case, chosen, limit in (
        ("one factor", [one for one in found if one.factors == 1], 0.0),
        ("several factors", [one for one in found if one.factors > 1], MAX_DIFFERENT),
        ("exact inference", exact, 0.0),
    ):
        written = [one.comparison.figures() for one in chosen if one.comparison is not None]
        clear = sum(figures["clear_decisions"] for figures in written)
        different = sum(figures["clear_differences"] for figures in written)
        yield Figure(case, "models", len(chosen), "")
        yield Figure(case, "models refused", len(chosen) - len(written), "")
        yield Figure(case, "models with 16 bits", sum(bool(one.wide) for one in chosen), "")
        yield Figure(case, "clear decisions", clear, "")
        yield at_most(case, "clear decisions different", different, "", limit * clear)
        yield Figure(
            case, "largest posterior KL", max((f["max_posterior_kl"] for f in written), default=0.0), "nats"
        )


def exact_outcome(path: Path) -> Outcome:
    """Convert a random model with exact inference; one of one factor, which has no other, is left out."""
    if path.suffix == ".npz" and len(pymdp_npz.read(path).arrays.B) == 1:
        return Outcome(path.stem, "same", "one factor", 1)
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


CASES: dict[str, Callable[[], Iterator[Figure]]] = {
    "jax": jax_figures,
    "legacy": partial(option_figures, "legacy"),
    "legacy-1.x": partial(option_figures, "legacy-1.x"),
    "random": random_figures,
    "learners": learned_parity.figures,
}


def lines(case: str) -> None:
    """Print a line for each option of a case, then its other figures."""
    if case in ("random", "learners"):
        show(CASES[case](), False)
        return
    for one in options(case):
        print(f"{case:<11} {one.name:<40} {one.verdict:<10} {one.words}", flush=True)
    if case == "jax":
        show(draw_figures(), False)


def main() -> int:
    """Print a line for each option, or figures."""
    parser = arguments(__doc__)
    parser.add_argument("--case", choices=CASES, help="one of them (all)")
    given = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        for case in [given.case] if given.case else CASES:
            if given.json:
                show(CASES[case](), True)
            else:
                lines(case)
    except EdgeAgentError as error:
        print(f"benchmarks.parity: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
