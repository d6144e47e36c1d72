"""Export every live agent of an environment: ``live.py KIND FOLDER [NAME ...]``, KIND: jax, legacy or random.

Writes ``FOLDER/NAME.npz``, or ``FOLDER/NAME.refused`` with the line that the user sees. ``golden`` and
``golden-legacy`` write what tests/golden/agents keeps: agents whose traces are small, forty steps each.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_agent.errors import ModelError
from edge_convert import export_pymdp

SHAPES = [(f, m) for f in range(1, 9) for m in (max(1, f // 2), f, 2 * f, min(16, f + 5))][:30]
BATCH = 10
RANDOM_STEPS = 50
GOLDEN_STEPS = 40
GOLDEN = {
    "jax": (
        "sampling_mode_full_two_factors",
        "sampling_mode_marginal_two_factors",
        "action_selection_stochastic_marginal",
        "gamma_0",
        "E",
        "use_param_info_gain",
        "num_iter_1",
        "inference_algo_mmp",
        "inference_algo_vmp",
        "inference_algo_mmp_B_dependencies",
        "inference_algo_vmp_B_dependencies",
        "B_action_dependencies",
        "B_dependencies",
        "policies_masked",
        "C_over_time",
        "batch_of_4_agent_2",
        "categorical_obs",
        "preprocess_fn_allowed",
        "env_tmaze",
        "env_tmaze_simplified",
        "env_graph_world",
        "notebook_agent_demo",
    ),
    "legacy": ("legacy_defaults", "legacy_C_over_time", "legacy_notebook_agent_demo", "legacy_env_tmaze"),
}


def main(kind: str, folder: Path, names: list[str]) -> int:
    """Export the agents; print one line each. What pymdp itself prints goes to the standard error."""
    folder.mkdir(parents=True, exist_ok=True)
    done, sys.stdout = sys.stdout, sys.stderr
    for name, agent, options in agents(kind, names):
        for old in (folder / f"{name}.npz", folder / f"{name}.refused"):
            old.unlink(missing_ok=True)
        try:
            export_pymdp(agent, folder / f"{name}.npz", **options)
        except ModelError as error:
            (folder / f"{name}.refused").write_text(str(error))
        print(name, file=done, flush=True)
    return 0


def agents(kind: str, names: list[str]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield a name, an agent and what is given to ``export_pymdp``."""
    if kind == "random":
        yield from random_agents(names)
        return
    kept, _, kind_ = kind.partition("-")
    if kept == "golden":
        for name, agent, options in agents(kind_ or "jax", list(GOLDEN[kind_ or "jax"])):
            yield name, agent, options | {"traces": GOLDEN_STEPS}
        return
    for name, make in importlib.import_module(f"{kind}_agents").CASES.items():
        if not names or name in names:
            agent, options = make()
            yield name, agent, options


def random_agents(names: list[str]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield 300 seeded random models: 30 shapes of ten."""
    import jax_agents

    for number, (factors, modalities) in enumerate(SHAPES):
        title = f"{factors}x{modalities}"
        if names and title not in names:
            continue
        agent = jax_agents.random_agent(number, factors, modalities, BATCH)
        for n in range(BATCH):
            yield f"{title}_{number}_{n}", agent, {"batch": n, "traces": RANDOM_STEPS, "seed": n}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
