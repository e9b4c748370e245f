"""Every error that Leptonic raises on purpose, and the exit code each branch gives.

LeptonicError
├── ExperimentError          the experiment file or a setting
├── DataError                a data set, a contract, a partition
├── ProtocolError            a message that breaks the protocol
│   ├── DecodeError
│   ├── VersionMismatch
│   ├── BelowThreshold
│   ├── BadSignature
│   ├── BadShare
│   ├── ReplayedSession
│   └── InconsistentCohort
├── PrivacyError
│   ├── BudgetExhausted
│   ├── PolicyRefused
│   └── UnaccountedMechanism
├── RunError                 resume, store, deadline, not enough clients
└── KernelError              no such kernel on this device

A message says what was wrong, where, and what to do. The command line prints it to stderr without a
traceback (unless ``--debug``) and exits with the branch's code.
"""

__all__ = [
    "BadShare",
    "BadSignature",
    "BelowThreshold",
    "BudgetExhausted",
    "DataError",
    "DecodeError",
    "ExperimentError",
    "InconsistentCohort",
    "KernelError",
    "LeptonicError",
    "PolicyRefused",
    "PrivacyError",
    "ProtocolError",
    "ReplayedSession",
    "RunError",
    "UnaccountedMechanism",
    "VersionMismatch",
]


class LeptonicError(Exception):
    """The root: catch this to catch everything that Leptonic raises on purpose."""

    exit_code = 1


class ExperimentError(LeptonicError):
    """The experiment file or one of its settings is wrong."""

    exit_code = 3


class DataError(LeptonicError):
    """A data set, a file of it, or a partition is wrong; names the file and the row."""

    exit_code = 4


class ProtocolError(LeptonicError):
    """A message breaks the protocol."""

    exit_code = 5


class DecodeError(ProtocolError):
    """Bytes that are not a well-formed message."""


class VersionMismatch(ProtocolError):
    """The other side speaks another version, or runs another experiment."""


class BelowThreshold(ProtocolError):
    """Too few parties for the sum to be opened safely."""


class BadSignature(ProtocolError):
    """A signature is missing, forged, or made over other bytes."""


class BadShare(ProtocolError):
    """A secret share does not open or does not fit its commitment."""


class ReplayedSession(ProtocolError):
    """A session, round or request that was seen before comes with other content."""


class InconsistentCohort(ProtocolError):
    """Parties were told of different cohorts."""


class PrivacyError(LeptonicError):
    """A privacy promise could not be kept, so the work was refused."""

    exit_code = 6


class BudgetExhausted(PrivacyError):
    """The data owner's privacy budget does not allow this round."""


class PolicyRefused(PrivacyError):
    """The data owner's policy does not allow this request."""


class UnaccountedMechanism(PrivacyError):
    """No accountant gives a valid bound for this mechanism."""


class RunError(LeptonicError):
    """A run cannot start, continue or end: resume, store, deadline, not enough clients."""

    exit_code = 7


class KernelError(LeptonicError):
    """The asked-for kernel does not exist on this device."""

    exit_code = 8
