"""A run's virtual time: its clock, when answers arrive, and who is there."""

from leptonic.experiment import Scenario
from leptonic_server.cohort import Members
from leptonic_simulations.clients import SimulatedClients
from leptonic_simulations.members import Everyone
from leptonic_simulations.scenario.availability import Availability, PresentMembers
from leptonic_simulations.scenario.clock import VirtualClock
from leptonic_simulations.scenario.journeys import Journeys
from leptonic_simulations.scenario.timetable import Timetable

__all__ = ["ScenarioTime"]


class ScenarioTime:
    """What a run by virtual time is made of. start: virtual seconds at which a resumed run continues."""

    def __init__(self, scenario: Scenario, clients: SimulatedClients, *, start: float) -> None:
        rows, experiment = clients.data.rows, clients.experiment
        self._scenario, self._seed = scenario, experiment.seed
        self.clock = VirtualClock(start)
        self.journeys = Journeys(clients.trainer, lambda client: len(rows[client]))
        self.schedule = Timetable(experiment.federation, self.clock, self.journeys.of)
        self.clock.follow(self.schedule.next_event)

    def members(self, everyone: Everyone) -> Members:
        """Those of the members who are online, at any time."""
        if self._scenario.availability is None:
            return everyone
        availability = Availability(self._scenario.availability, self._seed)
        self.clock.follow(availability.next_slot)
        return PresentMembers(everyone, availability, self.clock)
