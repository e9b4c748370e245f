"""Settings that all tests share."""

import signal

from hypothesis import settings

# A busy machine is no failure: time is measured in benchmarks, never in tests.
settings.register_profile("leptonic", deadline=None)
settings.load_profile("leptonic")

# A shell starts what runs in its background deaf to Ctrl-C, and children would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
