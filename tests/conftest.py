"""Settings that all tests share."""

from hypothesis import settings

# A busy machine is no failure: time is measured in benchmarks, never in tests.
settings.register_profile("leptonic", deadline=None)
settings.load_profile("leptonic")
