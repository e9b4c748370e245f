"""The top of a report: what ran, its numbers, what to know of them, the model's hash, the privacy statement."""

from collections.abc import Mapping

from leptonic.experiment import Privacy
from leptonic.privacy.promise import promise_of
from leptonic_server.report.facts import Facts
from leptonic_server.report.findings import Finding, findings
from leptonic_server.report.markup import Markup, join, tag
from leptonic_server.report.wording import bound, counted, duration, measure, plural, size

__all__ = ["overview"]


def overview(facts: Facts) -> Markup:
    """Header, numbers, findings, model and privacy."""
    pair = tag("div", _model(facts), _privacy(facts), class_="pair")
    return join([_header(facts), _numbers(facts), _to_know(facts), pair])


def _header(facts: Facts) -> Markup:
    settings = facts.experiment
    mode = "Simulation" if facts.mode == "simulated" else "Deployment" if facts.mode == "deployed" else facts.mode
    where = "all clients on one machine" if facts.mode == "simulated" else "each client on its owner's machine"
    what = f"{settings.algorithm.name}, {settings.model.name} on {settings.data.name}"
    begun, finished = (
        when.replace("T", " ").replace("+00:00", " UTC") for when in (facts.rounds[0].finished, facts.last.finished)
    )
    return tag(
        "header",
        tag("p", "Leptonic \u00b7 report of a run", class_="over"),
        tag("h1", settings.name),
        tag("p", tag("span", mode, class_="mode"), f" {where} \u00b7 {what}"),
        tag("p", f"{begun} to {finished}", class_="quiet") if begun and finished else "",
    )


def _numbers(facts: Facts) -> Markup:
    clients, joined = facts.experiment.federation.clients, sum(t.statuses["counted"] > 0 for t in facts.tallies)
    tiles = [
        _accuracy(facts),
        _tile("Rounds", counted(facts.last.round), f"of {counted(facts.experiment.training.rounds)}"),
        _tile("Clients", counted(clients), "all took part" if joined == clients else f"{counted(joined)} took part"),
    ]
    if facts.experiment.privacy is not None:
        tiles.append(_epsilon(facts, facts.experiment.privacy))
    tiles += [
        _tile("Time", duration(facts.seconds), "in committed rounds", f"{facts.seconds:.3f} s"),
        _traffic(facts),
    ]
    return tag("section", *tiles, class_="tiles", aria_label="Numbers")


def _accuracy(facts: Facts) -> Markup:
    known = facts.headline
    if known is None:
        return _tile("Accuracy", "\u2013", "was not evaluated", main=True)
    when = "Final accuracy" if known.round == facts.experiment.training.rounds else f"Accuracy, round {known.round}"
    best = f"best {measure('accuracy', known.best)} in round {known.best_round} \u00b7 {known.where}"
    return _tile(when, measure("accuracy", known.value), best, str(known.value), main=True)


def _epsilon(facts: Facts, privacy: Privacy) -> Markup:
    spent = bound(facts.epsilons[-1][1]) if facts.epsilons else "\u2013"
    note = "protects nobody" if _in_vain(facts) else f"of {privacy.epsilon:g} \u00b7 delta {privacy.delta:g}"
    return _tile("Epsilon", spent, note, str(facts.epsilons[-1][1]) if facts.epsilons else None)


def _traffic(facts: Facts) -> Markup:
    note = f"{size(facts.bytes_down)} down \u00b7 {size(facts.bytes_up)} up"
    exact = f"{plural(facts.bytes_down, 'byte')} down, {plural(facts.bytes_up, 'byte')} up"
    return _tile("Traffic", size(facts.bytes_down + facts.bytes_up), note, exact)


def _tile(label: str, value: str, note: str, exact: str | None = None, *, main: bool = False) -> Markup:
    """exact: the number in full, shown under the pointer."""
    parts = (tag("h2", label), tag("p", value, class_="value", title=exact), tag("p", note, class_="quiet"))
    return tag("div", *parts, class_="tile main" if main else "tile")


def _to_know(facts: Facts) -> Markup:
    found = findings(facts)
    items = [_finding(finding, "grave" if finding.grave else "mild") for finding in found]
    if not found:
        invited = sum(tally.invited for tally in facts.tallies)
        fine = f"Every one of the {counted(invited)} invitations ended in a counted update, and no value was cut off."
        items = [_finding(Finding("Nothing out of the ordinary", fine), "fine")]
    return tag("section", tag("h2", "What to know"), *items, class_="know")


def _finding(finding: Finding, kind: str) -> Markup:
    return tag("div", tag("h3", finding.title), tag("p", finding.body), class_=f"finding {kind}")


def _model(facts: Facts) -> Markup:
    prints: list[object] = [tag("code", "sha256sum model.safetensors"), " prints it. "]
    if not facts.complete:
        how: list[object] = ["model.safetensors is written when the run ends."]
    elif facts.model_file_sha256 == facts.last.model_sha256:
        how = [*prints, "The file in the run's folder was compared when this report was written: it is this model."]
    else:
        how = [*prints, "Compare it before you use the file."]
    return tag(
        "section",
        tag("h2", "The model"),
        tag("p", f"SHA-256 of the model after round {counted(facts.last.round)}"),
        tag("p", tag("code", facts.last.model_sha256), class_="hash"),
        tag("p", *how, class_="quiet"),
        class_="card",
    )


def _privacy(facts: Facts) -> Markup:
    return tag("section", tag("h2", "Privacy"), *(tag("p", words) for words in _privacy_words(facts)), class_="card")


def _privacy_words(facts: Facts) -> list[str]:
    privacy = facts.experiment.privacy
    if privacy is None:
        return [
            "No differential privacy: the experiment has no [privacy] section.",
            "The clients' data did not leave them, but the model and the updates may reveal something of it.",
        ]
    spent = _spent(facts)
    if _in_vain(facts):
        return ["Privacy noise drawn from the seed: protects nobody.", spent + " It holds for secret noise only."]
    promise = promise_of(facts.experiment)
    assert promise is not None
    return [
        f"{promise.by}, with epsilon at most {privacy.epsilon:g} at delta = {privacy.delta:g}, {promise.unit}, "
        f"against {promise.against}.",
        f"{spent} {promise.holder}",
        *_noise(facts.last.privacy),
    ]


def _spent(facts: Facts) -> str:
    """Who says how much was spent."""
    if not facts.epsilons:
        return "No client has reported an epsilon."
    largest = bound(facts.epsilons[-1][1])
    joined = facts.last.privacy.get("joined")
    if joined is None:
        return f"The largest epsilon that a client has reported is {largest}. This page repeats what they say."
    rounds = plural(int(joined), "round")
    return f"No client has spent more than epsilon = {largest}: each was asked to join {rounds} at most."


def _noise(privacy: Mapping[str, str | int | float]) -> list[str]:
    """The parameters of client-level noise, as the last round's record states them."""
    if "scale" in privacy:
        law = str(privacy["noise"]).replace("_", " ")
        noise = (
            f"{law} noise of deviation {privacy['local_deviation']:.4g} from each client, of whom "
            f"{privacy['honest']} are counted on, in words of {privacy['bits']} bits at {privacy['scale']:.6g} steps "
            "to a unit"
        )
    elif "noise_multiplier" in privacy:
        noise = f"Gaussian noise with a multiplier of {privacy['noise_multiplier']:.4g}"
    else:
        return []
    when = " in the last round" if "update_noise_multiplier" in privacy else ""
    return [
        f"{noise[0].upper()}{noise[1:]}; updates clipped to a norm of {privacy['clip_norm']:.4g}{when}, their sum "
        f"divided by {privacy['denominator']:g}; Renyi accountant, "
        f"{plural(int(privacy['participations']), 'round')} of one client at most, no amplification by sampling."
    ]


def _in_vain(facts: Facts) -> bool:
    """Whether the noise can be computed by whoever has the experiment file."""
    return facts.mode == "simulated" and facts.experiment.simulation.seeded_noise
