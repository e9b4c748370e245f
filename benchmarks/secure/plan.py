"""How much the benchmark of secure aggregation measures."""

from dataclasses import dataclass

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """baselines_python: an interpreter that has the baseline. workloads: (clients, neighbours; 0 for all)."""

    baselines_python: str
    parameters: int = 1_000_000
    workloads: tuple[tuple[int, int], ...] = ((10, 0), (50, 12), (50, 0))
    rounds: int = 4
    masked: int = 50
    large: int = 100_000_000
    many: int = 1000
    many_parameters: int = 100_000
    many_rounds: int = 1

    @classmethod
    def quick(cls, baselines_python: str) -> "Plan":
        """Enough to see that every part works; its figures mean little."""
        return cls(
            baselines_python,
            parameters=20_000,
            workloads=((10, 0),),
            rounds=2,
            masked=10,
            large=1_000_000,
            many=200,
            many_parameters=2_000,
            many_rounds=1,
        )
