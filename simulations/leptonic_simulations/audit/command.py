"""``leptonic audit``: tries to refute the privacy that an experiment claims."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leptonic.experiment_commands import SetOption

if TYPE_CHECKING:
    from leptonic.experiment import Experiment
    from leptonic_simulations.audit.findings import Finding
    from leptonic_simulations.audit.study import Study

__all__ = ["audit"]

MODEL = "model.safetensors"


def audit(
    target: Annotated[
        Path, typer.Argument(metavar="RUN|FILE", help="A run's folder, or an experiment file.", show_default=False)
    ],
    set_: SetOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer canaries and attack steps: about a minute.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Copy the run's model there, if nothing is contradicted.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the outcome [the run's, else outputs.directory/NAME-audit].", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, not as a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Try to refute the privacy that an experiment claims, by running its clients' code.

    Neighbouring inputs aimed at each layer must stay within the bound; noise must be as large as claimed and new for
    each client and round; guesses who was among canaries must not succeed too often; images are made of first updates,
    as a picture. It leaves audit.json, audit.md and audit.png. A correct run is accused with probability 0.001 at most;
    ends with an error if the claim is contradicted.

    Examples:

    leptonic audit experiments/fashion_mnist_private.toml --quick

    leptonic audit runs/fashion_mnist_private-20260101-120000 --export released/model.safetensors
    """
    from rich.console import Console

    from leptonic.errors import ExperimentError, PrivacyError
    from leptonic_simulations.audit.picture import draw
    from leptonic_simulations.audit.report import table, title_of, verdict_of, write
    from leptonic_simulations.audit.study import FULL, QUICK, study
    from leptonic_simulations.audit.subject import Subject

    experiment, run, before = _subject(target, set_ or [])
    if export is not None and not (run and (target / MODEL).exists()):
        raise ExperimentError(f"--export: {target} is not the folder of a run with a {MODEL}")
    folder = out or (target if run else Path(experiment.outputs.directory) / f"{experiment.name}-audit")

    def said(what: str) -> None:
        if not quiet:
            typer.echo(f"... {what}", err=True)

    done = study(Subject(experiment), QUICK if quick else FULL, progress=said, before=before)
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / "audit.png" if done.shown else None
    if done.shown and picture:
        from leptonic.data.catalogue import spec_of

        draw(done.shown, spec_of(experiment.data), picture)
    write(done, folder, run=run, picture=picture)
    if as_json:
        typer.echo((folder / "audit.json").read_text(), nl=False)
    else:
        typer.echo(title_of(done))
        Console().print(table(done))
        for note in done.notes:
            typer.echo(f"note     {note}")
        typer.echo(f"verdict  {verdict_of(done)}")
        typer.echo(f"page     {folder / 'audit.md'}")
    if done.contradicted:
        raise PrivacyError(_accusation(done, kept=export is not None))
    if export is not None:
        _export(target / MODEL, export)


def _subject(target: Path, overrides: list[str]) -> "tuple[Experiment, str | None, tuple[Finding, ...]]":
    """The experiment of a file, or of a run with its name and what its folder says."""
    from contextlib import closing

    from leptonic.errors import ExperimentError
    from leptonic.experiment_file import load
    from leptonic_server.store import RunStore
    from leptonic_simulations.audit.study import run_findings

    if not target.is_dir():
        return load(target, overrides), None, ()
    if overrides:
        raise ExperimentError("--set: a run's experiment is settled; audit a file to try other settings")
    with closing(RunStore(target, read_only=True)) as store:
        return store.experiment, store.run or "", run_findings(store)


def _accusation(done: "Study", *, kept: bool) -> str:
    questions = "; ".join(f"{finding.audit}: {finding.question}" for finding in done.contradicted)
    withheld = " The model was not exported." if kept else ""
    return f"the claimed privacy is contradicted ({questions}). Do not release what this code has trained.{withheld}"


def _export(model: Path, path: Path) -> None:
    from leptonic.files import write_atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, model.read_bytes())
    typer.echo(f"model    {path}")
