"""What privacy an experiment will cost and what noise it takes, told before anything runs.

``leptonic privacy plan`` calls :func:`forecast_clients` or :func:`forecast_examples`, then writes the outcome as
tables, JSON and a picture. Nothing here is part of a run; it asks the same plans that a run asks.
"""

from leptonic.privacy.forecast.client_unit import ClientForecast, Collusion, forecast_clients
from leptonic.privacy.forecast.example_unit import ExampleForecast, ExampleOutlook, forecast_examples
from leptonic.privacy.forecast.points import Point, Target
from leptonic.privacy.forecast.signal import Signal

__all__ = [
    "ClientForecast",
    "Collusion",
    "ExampleForecast",
    "ExampleOutlook",
    "Point",
    "Signal",
    "Target",
    "forecast_clients",
    "forecast_examples",
]
