"""A search's study: Optuna proposes settings, and keeps its trials in an SQLite file of the sweep's folder.

Every trial's sampler is seeded by the trial's place alone, so that a search that was stopped and continued proposes
what an unbroken one would have. Sampler: tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from leptonic.errors import RunError
from leptonic_simulations.sweep.cells import Cell, CellResult
from leptonic_simulations.sweep.metric import Metric
from leptonic_simulations.sweep.space import Dimension, Range

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

__all__ = ["Study", "open_study"]


class Study:
    """Trials as cells: those that ended, those that were interrupted, then new ones until ``trials`` are there."""

    def __init__(
        self,
        study: "optuna.Study",
        distributions: Mapping[str, "BaseDistribution"],
        *,
        metric: Metric,
        trials: int,
        seed: int,
    ) -> None:
        self._study, self._distributions = study, dict(distributions)
        self._metric, self._trials, self._seed = metric, trials, seed

    def __iter__(self) -> Iterator[Cell]:
        """The cells; :meth:`tell` is due for each before the next is taken."""
        count = 0
        for trial in self._study.get_trials():
            if set(trial.params) == set(self._distributions):
                count += 1
                yield _cell(trial.number, trial.params)
            elif not trial.state.is_finished():
                # Killed while it was drawn: nothing was run for it.
                self._fail(trial.number)
        for index in range(count, self._trials):
            yield self._new(index)

    def tell(self, result: CellResult) -> None:
        """Record a trial's value, or that it failed; a trial that ended before stays as it is."""
        number, value = result.cell.number - 1, result.value(self._metric)
        if self._study.get_trials(deepcopy=False)[number].state.is_finished():
            return
        if value is None:
            self._fail(number)
        else:
            self._study.tell(number, value)

    def _new(self, index: int) -> Cell:
        from optuna.samplers import TPESampler

        seed = int(np.random.SeedSequence((self._seed, index)).generate_state(1)[0])
        self._study.sampler = TPESampler(seed=seed)
        trial = self._study.ask(self._distributions)
        return _cell(trial.number, trial.params)

    def _fail(self, number: int) -> None:
        from optuna.trial import TrialState

        self._study.tell(number, state=TrialState.FAIL)


@contextmanager
def open_study(
    folder: Path, space: Sequence[Dimension], *, real: frozenset[str], metric: Metric, trials: int, seed: int
) -> Iterator[Study]:
    """The study of a sweep's folder, begun or continued. real: keys whose numbers need not be whole."""
    import optuna
    from sqlalchemy import URL
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / "study.sqlite"
    try:
        address = URL.create("sqlite", database=str(path.resolve()))
        storage = optuna.storages.RDBStorage(address.render_as_string())
        study = optuna.create_study(
            storage=storage,
            study_name="sweep",
            direction="minimize" if metric.minimised else "maximize",
            load_if_exists=True,
        )
    except (SQLAlchemyError, RuntimeError) as error:
        raise RunError(f"{path}: not an Optuna study ({error}); restore it from a copy") from None
    try:
        distributions = {each.key: _distribution(each, real=each.key in real) for each in space}
        yield Study(study, distributions, metric=metric, trials=trials, seed=seed)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _distribution(dimension: Dimension, *, real: bool) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(dimension, Range):
        return CategoricalDistribution(dimension.values)
    if real:
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)


def _cell(number: int, params: Mapping[str, object]) -> Cell:
    texts = {key: value if isinstance(value, str) else repr(value) for key, value in params.items()}
    return Cell(number + 1, texts)
