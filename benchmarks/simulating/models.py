"""Four models, five steps of ten examples: our engines against a bare PyTorch loop and pfl-research, in turns."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from reporting import Figure

from leptonic_simulations.clients import FederatedData
from simulating import experiments
from simulating.contenders import ENGINES, Bare, Contender, InProcess, Pfl, take_turns
from simulating.plan import Plan, compared, say
from simulating.programs import ours, why_not

__all__ = ["against_bare", "against_pfl", "on_cuda"]

BETTER = {"logistic": 4.0, "mlp": 2.0, "lenet": 1 / 0.65, "cnn": 1 / 0.65}
"""How many times faster per client than the bare loop we are to be."""
THREADS = (1, 2)
"""Intra-op threads of the baselines."""
PFL_EACH, PFL_MEDIAN = 1.0, 2.0
SKIPPED = 2
"""Rounds of a simulation in which workers start and engines are timed."""


def against_bare(plan: Plan) -> Iterator[Figure]:
    """Every engine's time per client, the best one's beside the bare loop's, and whole rounds of simulations."""
    data = _data()
    for model in plan.models:
        times = _times(plan, model, data)
        say(f"models: {model}: {_listed(times)}")
        bare = {name: times[name] for name in times if name not in ENGINES}
        # Convolutions are compared with two threads, as the target says; the small models with the better.
        name = min(bare, key=bare.__getitem__) if model in ("logistic", "mlp") else _bare(THREADS[-1])
        yield from _bare_figures(plan, model, times, name)


def against_pfl(plan: Plan) -> Iterator[Figure]:
    """Our best engine and pfl-research's single process, model by model, and the median ratio."""
    reason = why_not(plan.baselines_python, "pfl", "torch")
    if reason:
        say(f"pfl: no baseline: {reason}")
        yield Figure("seconds per client beside pfl-research", "s", None, target=f">= {PFL_MEDIAN:g}x on the median")
        return
    data, ratios = _data(), []
    with TemporaryDirectory() as folder:
        experiments.export(experiments.from_mapping(experiments.five_steps("logistic", 1)), data, Path(folder))
        for model in plan.models:
            times = _times(plan, model, data, exported=Path(folder))
            say(f"pfl: {model}: {_listed(times)}")
            engine = min(ENGINES, key=times.__getitem__)
            pfl = min(times.keys() - set(ENGINES), key=times.__getitem__)
            ratios.append(times[pfl] / times[engine])
            name = f"{model}, the best engine ({engine})"
            yield compared(name, "s/client", times[engine], times[pfl], pfl, at_least=PFL_EACH)
    middle = median(ratios)
    target, met = f">= {PFL_MEDIAN:g}x", middle >= PFL_MEDIAN
    yield Figure("times faster than pfl-research, median of the models", "x", round(middle, 2), target=target, met=met)


def on_cuda(plan: Plan) -> Iterator[Figure]:
    """The batched engine against the sequential one on a GPU."""
    if not torch.cuda.is_available():
        yield Figure("batched engine on CUDA", "s/client", None, target="no CUDA device here")
        return
    data, device = _data(), torch.cuda.get_device_name()
    for model in plan.models:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            both: dict[str, Contender] = {}
            for engine in ("batched", "sequential"):
                own = InProcess(model, data, folder / engine, engine=engine, cohort=plan.cohort, device="cuda")
                both[engine] = stack.enter_context(closing(own))
            times = take_turns(both, plan.turns)
        say(f"cuda: {model}: {_listed(times)}")
        name = f"{model}, engine batched on {device}"
        yield compared(name, "s/client", times["batched"], times["sequential"], "engine sequential")


def _times(plan: Plan, model: str, data: FederatedData, *, exported: Path | None = None) -> dict[str, float]:
    """Seconds per client of our engines and of one baseline: pfl if its data was exported, else the bare loop."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        all_: dict[str, Contender] = {}
        for threads in THREADS:
            if exported:
                pfl = Pfl(plan.baselines_python, model, exported, cohort=plan.cohort, threads=threads)
                all_[f"pfl, threads: {threads}"] = stack.enter_context(closing(pfl))
            else:
                all_[_bare(threads)] = Bare(model, data, cohort=plan.cohort, threads=threads)
        for engine in ENGINES:
            own = InProcess(model, data, folder / engine, engine=engine, cohort=plan.cohort)
            all_[engine] = stack.enter_context(closing(own))
        return take_turns(all_, plan.turns)


def _bare_figures(plan: Plan, model: str, times: dict[str, float], bare: str) -> Iterator[Figure]:
    for name in times:
        if name != bare:
            label = f"engine {name}" if name in ENGINES else name
            yield compared(f"{model}, {label}", "s/client", times[name], times[bare], bare)
    best = min(ENGINES, key=times.__getitem__)
    name = f"{model}, the best engine ({best})"
    yield compared(name, "s/client", times[best], times[bare], bare, at_least=round(BETTER[model], 2))
    for engine in dict.fromkeys(("auto", best)):
        taken = ours(experiments.five_steps(model, plan.simulated_rounds, engine=engine, cohort=plan.cohort))
        # The last round evaluates the model.
        seconds = median(taken.rounds[SKIPPED:-1]) / plan.cohort
        chosen = engine if engine != "auto" else f"auto (chose {taken.engine})"
        say(f"models: {model}: whole rounds, engine {chosen}: {1000 * seconds:.3g} ms/client")
        yield compared(f"{model}, whole rounds, engine {chosen}", "s/client", seconds, times[bare], bare)


def _data() -> FederatedData:
    return FederatedData.of(experiments.from_mapping(experiments.five_steps("logistic", 1)))


def _bare(threads: int) -> str:
    return f"bare loop, threads: {threads}"


def _listed(times: dict[str, float]) -> str:
    return ", ".join(f"{name} {1000 * seconds:.3g} ms" for name, seconds in times.items())
