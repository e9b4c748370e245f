"""``leptonic robustness``: what each aggregation rule survives."""

from pathlib import Path
from typing import Annotated

import typer

from leptonic.experiment_commands import FileArgument, SetOption

__all__ = ["robustness"]


def robustness(
    file: FileArgument,
    rules: Annotated[
        str | None, typer.Option(metavar="RULE,...", help="Rules [all of them].", show_default=False)
    ] = None,
    attacks: Annotated[
        str | None, typer.Option(metavar="ATTACK,...", help="Attacks [all of them].", show_default=False)
    ] = None,
    within: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="Points of accuracy that an attack may cost a rule.")
    ] = 5.0,
    set_: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study [outputs.directory/NAME-robustness].", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, not as a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Run every aggregation rule against every attack, and say which survives what.

    Who lies is the experiment's scenario.liars, else 20 % of the clients. The same command continues a study that was
    broken off, and does nothing twice; it leaves robustness.json, robustness.png and a folder for each run.

    Examples:

    leptonic robustness experiments/scenario.toml --set training.rounds=5

    leptonic robustness experiments/scenario.toml --rules mean,krum --attacks sign_flip,a_little_is_enough --within 3
    """
    from rich.console import Console

    from leptonic.experiment_file import load
    from leptonic_simulations.robustness.picture import draw
    from leptonic_simulations.robustness.plan import ATTACKS, RULES, plan_of
    from leptonic_simulations.robustness.report import as_json as json_of
    from leptonic_simulations.robustness.report import meaning_of, table, title_of, write_json
    from leptonic_simulations.robustness.study import Outcome, run_study

    base = load(file, set_ or ())
    plan = plan_of(base, _names(rules, RULES), _names(attacks, ATTACKS))
    folder = out or Path(base.outputs.directory) / f"{base.name}-robustness"
    done = 0

    def said(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        shown = "broke down" if outcome.accuracy is None else f"{outcome.accuracy:.2%}"
        if not quiet:
            typer.echo(f"{done}/{len(plan.cells)}  {outcome.rule} against {outcome.attack}: {shown}", err=True)

    try:
        study = run_study(plan, folder, within=within, on_outcome=said)
    except KeyboardInterrupt:
        typer.echo(f"stopped; what is done is kept in {folder}: continue with the same command", err=True)
        raise typer.Exit(130) from None
    write_json(study, folder / "robustness.json")
    draw(study, folder / "robustness.png")
    if as_json:
        typer.echo(json_of(study), nl=False)
        return
    typer.echo(f"{title_of(study)}; accuracy in percent, + {meaning_of(study)}")
    Console().print(table(study))
    for note in plan.notes:
        typer.echo(note)
    typer.echo(f"picture  {folder / 'robustness.png'}")


def _names(given: str | None, default: tuple[str, ...]) -> tuple[str, ...]:
    if given is None:
        return default
    return tuple(name.strip() for name in given.split(",") if name.strip())
