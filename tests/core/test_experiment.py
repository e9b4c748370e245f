"""Settings: every refusal, impossible combinations, and a hash over exactly what both sides must share."""

import hashlib
import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leptonic.errors import ExperimentError
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_canonical, from_mapping

OWN = {"name": "own", "shape": [3, 8, 8], "classes": 4}
UNIFORM = {"rule": "mean", "weighting": "uniform"}
PRIVATE = {"unit": "example", "epsilon": 8.0, "delta": 1e-5}
CLIENTS = {"unit": "client", "mechanism": "distributed", "epsilon": 3.0, "delta": 1e-5}
SERVER = {**CLIENTS, "mechanism": "server"}
BANDED = {**CLIENTS, "mechanism": "correlated", "band": 6}


def made(**sections: Any) -> Experiment:
    return from_mapping({"name": "x", **sections}, source="file.toml")


def refusal(**sections: Any) -> str:
    with pytest.raises(ExperimentError) as caught:
        made(**sections)
    message = str(caught.value)
    assert all(line.startswith("file.toml: ") for line in message.splitlines())
    return message


def test_everything_has_a_default_but_the_name() -> None:
    experiment = made()
    assert (experiment.algorithm.name, experiment.aggregation.rule, experiment.privacy) == ("fedavg", "mean", None)
    with pytest.raises(ExperimentError, match="name: required"):
        from_mapping({}, source="file.toml")


def test_numbers_of_a_federation() -> None:
    federation = made(federation={"clients": 100, "cohort": 11, "over_selection": 0.5}).federation
    assert (federation.wanted, federation.invited, federation.needed) == (11, 16, 6)
    everyone = made(federation={"clients": 7}).federation
    assert (everyone.wanted, everyone.invited, everyone.needed) == (7, 7, 4)
    # There are no more than all clients to invite.
    assert made(federation={"clients": 12, "cohort": 11, "over_selection": 3.0}).federation.invited == 12


def test_settings_do_not_change_after_reading() -> None:
    experiment = made()
    with pytest.raises(Exception, match="frozen"):
        experiment.seed = 5  # type: ignore[misc]
    with pytest.raises(Exception, match="frozen"):
        experiment.training.rounds = 5  # type: ignore[misc]


UNKNOWN: list[tuple[str, dict[str, Any]]] = [
    ("trainig", {"trainig": {}}),
    ("training.roundss", {"training": {"roundss": 3}}),
    ("training.schedule.kindd", {"training": {"schedule": {"kindd": "cosine"}}}),
    ("federation.client", {"federation": {"client": 3}}),
    ("federation.partition.alpha", {"federation": {"partition": {"scheme": "iid", "alpha": 0.5}}}),
    ("federation.partition.classes", {"federation": {"partition": {"scheme": "dirichlet", "classes": 2}}}),
    ("data.shape", {"data": {"name": "mnist", "shape": [1]}}),
    ("data.train_examples", {"data": {**OWN, "train_examples": 5}, "aggregation": UNIFORM}),
    ("model.hidden", {"model": {"name": "lenet", "hidden": 5}}),
    ("model.width", {"model": {"name": "mlp", "width": 5}}),
    ("model.hidden", {"model": {"name": "my.models:factory", "hidden": 5}}),
    ("algorithm.mu", {"algorithm": {"name": "fedavg", "mu": 0.1}}),
    ("algorithm.alpha", {"algorithm": {"name": "fedprox", "alpha": 0.1}}),
    ("server_optimizer.tau", {"server_optimizer": {"name": "sgd", "tau": 0.1}}),
    ("server_optimizer.momentum", {"server_optimizer": {"name": "adam", "momentum": 0.1}}),
    ("aggregation.trim", {"aggregation": {"rule": "median", "trim": 0.1}}),
    ("aggregation.weighting", {"aggregation": {"rule": "krum", "weighting": "uniform"}}),
    ("privacy.sigma", {"privacy": {**PRIVATE, "sigma": 1.0}}),
    ("evaluation.often", {"evaluation": {"often": 1}}),
    ("outputs.folder", {"outputs": {"folder": "x"}}),
    ("simulation.cores", {"simulation": {"cores": 4}}),
    ("task.name", {"task": {"name": "x"}}),
]


@pytest.mark.parametrize(("key", "sections"), UNKNOWN)
def test_an_unknown_key_is_refused_by_name_with_the_allowed_ones(key: str, sections: dict[str, Any]) -> None:
    message = refusal(**sections)
    assert f"{key}: unknown key" in message
    assert "allowed here: " in message


def nested(key: str, value: Any) -> dict[str, Any]:
    content = value
    for part in reversed(key.split(".")):
        content = {part: content}
    return dict(content)


@pytest.mark.parametrize("value", ["5", 1.0, True, [5], {"a": 5}, 0, -3])
@pytest.mark.parametrize(
    "key",
    ["training.rounds", "training.local_steps", "federation.clients", "federation.cohort", "training.schedule.every"],
)
def test_a_count_is_a_positive_integer_and_nothing_is_coerced(key: str, value: Any) -> None:
    message = refusal(**nested(key, value))
    assert f"{key} = {value!r}: " in message


@pytest.mark.parametrize("value", ["0.1", True, [0.1], 0.0, -1.0, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", ["training.learning_rate", "federation.deadline"])
def test_a_rate_is_a_positive_finite_number(key: str, value: Any) -> None:
    assert f"{key} = {value!r}: " in refusal(**nested(key, value))


WRONG: list[tuple[str, Any]] = [
    ("seed", -1),
    ("seed", 2**63),
    ("seed", 1.0),
    ("seed", "1"),
    ("name", ""),
    ("name", "a b"),
    ("name", "../x"),
    ("name", "x" * 65),
    ("name", 5),
    ("training.momentum", 1.0),
    ("training.momentum", float("nan")),
    ("training.weight_decay", -0.1),
    ("training.optimizer", "SGD"),
    ("training.optimizer", None),
    ("training.precision", "float64"),
    ("training.device", "gpu"),
    ("training.schedule.kind", "linear"),
    ("training.schedule.factor", 1.5),
    ("training.schedule.factor", 0.0),
    ("training.schedule.floor", float("nan")),
    ("training.schedule.warmup_rounds", -1),
    ("federation.over_selection", -0.5),
    ("federation.over_selection", float("inf")),
    ("evaluation.on.0", "nobody"),
    ("evaluation.holdout", 1.0),
    ("evaluation.holdout", float("nan")),
    ("outputs.report", "yes"),
    ("outputs.report", 1),
    ("simulation.engine", "fast"),
    ("data.name", "mnst"),
    ("data.train_examples", 0),
    ("training", 5),
    ("training", []),
    ("data", "mnist"),
    ("federation", "all"),
    ("algorithm", "fedavg"),
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_wrong_value_is_refused_with_its_key_and_itself(key: str, value: Any) -> None:
    sections: dict[str, Any] = {"evaluation": {"on": [value]}} if key == "evaluation.on.0" else nested(key, value)
    message = refusal(**sections)
    assert len(message.splitlines()) == 1
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:50]
    assert f"{key} = {shown}" in message


IN_CHOICES: list[tuple[str, Any, dict[str, Any]]] = [
    ("algorithm.mu", "0.1", {"algorithm": {"name": "fedprox", "mu": "0.1"}}),
    ("algorithm.mu", -0.5, {"algorithm": {"name": "fedprox", "mu": -0.5}}),
    ("algorithm.alpha", 0.0, {"algorithm": {"name": "feddyn", "alpha": 0.0}}),
    ("server_optimizer.beta2", 1.0, {"server_optimizer": {"name": "yogi", "beta2": 1.0}}),
    ("aggregation.trim", 0.5, {"aggregation": {"rule": "trimmed_mean", "trim": 0.5}}),
    ("aggregation.byzantine", -1, {"aggregation": {"rule": "krum", "byzantine": -1}}),
    ("aggregation.range", float("inf"), {"aggregation": {"rule": "mean", "range": float("inf")}}),
    ("aggregation.weighting", "size", {"aggregation": {"rule": "mean", "weighting": "size"}}),
    ("model.hidden.1", 0, {"model": {"name": "mlp", "hidden": [5, 0]}}),
    ("model.width", 6, {"model": {"name": "resnet", "width": 6}}),
    ("model.name", "my models:x", {"model": {"name": "my models:x"}}),
    ("federation.partition.alpha", 0, {"federation": {"partition": {"scheme": "dirichlet", "alpha": 0}}}),
    ("data.shape.0", 0, {"data": {**OWN, "shape": [0, 8, 8]}, "aggregation": UNIFORM}),
    ("data.classes", 1, {"data": {**OWN, "classes": 1}, "aggregation": UNIFORM}),
    ("data.std.0", 0.0, {"data": {**OWN, "std": [0.0]}, "aggregation": UNIFORM}),
    ("data.mean.0", float("nan"), {"data": {**OWN, "mean": [float("nan")]}, "aggregation": UNIFORM}),
    ("data.mean.0", float("inf"), {"data": {**OWN, "mean": [float("inf")]}, "aggregation": UNIFORM}),
    ("privacy.participations", 0, {"privacy": {**CLIENTS, "participations": 0}}),
    ("privacy.noise", "laplace", {"privacy": {**CLIENTS, "noise": "laplace"}}),
    ("privacy.epsilon", 0, {"privacy": {**PRIVATE, "epsilon": 0}}),
    ("privacy.delta", 1.0, {"privacy": {**PRIVATE, "delta": 1.0}}),
    ("privacy.delta", float("nan"), {"privacy": {**PRIVATE, "delta": float("nan")}}),
    ("task.kind", "classification", {"task": {"kind": "classification"}}),
    ("task.kind", 5, {"task": {"kind": 5}}),
]


@pytest.mark.parametrize(("key", "value", "sections"), IN_CHOICES)
def test_a_wrong_value_inside_a_choice_is_named_as_it_stands_in_the_file(
    key: str, value: Any, sections: dict[str, Any]
) -> None:
    message = refusal(**sections)
    assert len(message.splitlines()) == 1
    assert f"{key} = {value!r}: " in message


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_options_of_an_own_model_have_a_canonical_form_or_are_refused(number: float) -> None:
    """The hash is over canonical JSON, which has no such numbers: the mistake must show before any work."""
    sections = {"model": {"name": "my.models:factory", "options": {"gain": number}}}
    assert "model.options" in refusal(**sections)


def test_every_mistake_is_reported_at_once() -> None:
    message = refusal(seed=-1, training={"rounds": 0, "batchsize": 3}, algorithm={"name": "fedprox", "mu": "x"})
    for key in ("seed", "training.rounds", "training.batchsize", "algorithm.mu"):
        assert f"file.toml: {key}" in message
    assert len(message.splitlines()) == 4


CHOICES: list[tuple[str, str, str]] = [
    ("algorithm", "name", "fedavg"),
    ("model", "name", "lenet"),
    ("server_optimizer", "name", "adam"),
    ("aggregation", "rule", "median"),
]


@pytest.mark.parametrize(("section", "tag", "example"), CHOICES)
def test_an_unknown_choice_is_refused_with_the_known_ones(section: str, tag: str, example: str) -> None:
    message = refusal(**{section: {tag: example + "x"}})
    assert f"{section}.{tag}" in message
    assert f"'{example}x'" in message
    assert f"did you mean '{example}'" in message


@pytest.mark.parametrize(("section", "tag", "example"), CHOICES)
def test_a_choice_that_is_not_made_is_asked_for(section: str, tag: str, example: str) -> None:
    message = refusal(**{section: {}})
    assert f"{section}.{tag}: not set; allowed: " in message
    assert example in message


@pytest.mark.parametrize(("section", "tag", "example"), CHOICES)
def test_a_choice_written_as_a_bare_word_is_asked_for_as_a_table(section: str, tag: str, example: str) -> None:
    """`model = "lenet"`: the name is right, so the message must not say that it is not known."""
    message = refusal(**{section: example})
    assert f"{section} = '{example}': " in message
    assert "not known" not in message


@pytest.mark.parametrize(
    ("privacy", "words"),
    [
        ({}, "privacy.unit: not set; allowed: example, client"),
        ({"unit": "clients"}, "'clients' is not known (did you mean 'client'?); allowed: example, client"),
        ({"unit": "client"}, "privacy.mechanism: not set; allowed: distributed, local, server, correlated"),
        ({**CLIENTS, "mechanism": "servr"}, "privacy.mechanism: 'servr' is not known (did you mean 'server'?)"),
        ({**SERVER, "band": 2}, "privacy.band: unknown key; allowed here: adaptive_clip, clip_norm,"),
        ({**SERVER, "adaptive_clip": {"quantil": 0.2}}, "privacy.adaptive_clip.quantil: unknown key (did you mean"),
    ],
)
def test_a_choice_within_a_choice_is_asked_for_in_turn(privacy: dict[str, Any], words: str) -> None:
    assert words in refusal(privacy=privacy)


@pytest.mark.parametrize("value", [["lenet"], {"a": 1}, 5, None, True])
def test_a_choice_of_no_kind_of_name_is_refused(value: Any) -> None:
    assert "model.name" in refusal(model={"name": value})


def robust(**more: Any) -> dict[str, Any]:
    return {"aggregation": {"rule": "krum", "byzantine": 2, **more}, "federation": {"clients": 10, "minimum": 7}}


COMBINATIONS: list[tuple[list[str], dict[str, Any]]] = [
    (["federation.cohort = 11", "federation.clients = 10"], {"federation": {"clients": 10, "cohort": 11}}),
    (["federation.minimum = 6", "5"], {"federation": {"clients": 10, "cohort": 5, "minimum": 6}}),
    (["federation.minimum = 11"], {"federation": {"clients": 10, "minimum": 11}}),
    (["local_epochs", "local_steps"], {"training": {"local_epochs": 1, "local_steps": 1}}),
    (["momentum", "adam"], {"training": {"optimizer": "adam", "momentum": 0.9}}),
    (["scaffold", "median"], {"algorithm": {"name": "scaffold"}, "aggregation": {"rule": "median"}}),
    (["feddyn", "trimmed_mean"], {"algorithm": {"name": "feddyn"}, "aggregation": {"rule": "trimmed_mean"}}),
    (["fednova", "krum"], {"algorithm": {"name": "fednova"}, **robust()}),
    (["scaffold", "server_optimizer"], {"algorithm": {"name": "scaffold"}, "server_optimizer": {"name": "adam"}}),
    (
        ["feddyn", "server_optimizer"],
        {"algorithm": {"name": "feddyn"}, "server_optimizer": {"name": "sgd", "momentum": 0.5}},
    ),
    (["scaffold", "training.optimizer"], {"algorithm": {"name": "scaffold"}, "training": {"optimizer": "adam"}}),
    (["fednova", "training.optimizer"], {"algorithm": {"name": "fednova"}, "training": {"optimizer": "adamw"}}),
    (["feddyn", "training.optimizer"], {"algorithm": {"name": "feddyn"}, "training": {"optimizer": "adam"}}),
    (["aggregation.byzantine = 3", "9"], {**robust(byzantine=3)}),
    (["aggregation.select = 6", "5"], {**robust(select=6)}),
    (["privacy", "evaluation.on"], {"privacy": PRIVATE, "evaluation": {"on": ["clients"], "holdout": 0.1}}),
    (["training.gradient_clip_norm", "privacy"], {"privacy": PRIVATE, "training": {"gradient_clip_norm": 1.0}}),
    (
        ["privacy.participations = 3", "training.rounds = 4"],
        {
            "privacy": {**PRIVATE, "participations": 3},
            "training": {"rounds": 4},
            "federation": {"clients": 10, "cohort": 2},
        },
    ),
    (["precision", "privacy"], {"privacy": PRIVATE, "training": {"precision": "bfloat16"}}),
    (["privacy.unit", "weighting = 'uniform'"], {"privacy": CLIENTS, "secure_aggregation": {}}),
    (["privacy.unit", "uniform"], {"privacy": SERVER, "aggregation": {"rule": "median"}}),
    (["scaffold", "privacy.unit"], {"privacy": SERVER, "algorithm": {"name": "scaffold"}, "aggregation": UNIFORM}),
    (["fednova", "privacy.unit"], {"privacy": SERVER, "algorithm": {"name": "fednova"}, "aggregation": UNIFORM}),
    (["distributed", "secure_aggregation", "local"], {"privacy": CLIENTS, "aggregation": UNIFORM}),
    (["privacy.delta = 0.1", "10 clients"], {"privacy": {**SERVER, "delta": 0.1}, "aggregation": UNIFORM}),
    (
        ["privacy.band = 6", "again after 5 rounds"],
        {"privacy": BANDED, "aggregation": UNIFORM, "federation": {"clients": 17, "cohort": 3}},
    ),
    (
        ["secure_aggregation.retain = 'sums'", "server"],
        {"privacy": SERVER, "aggregation": UNIFORM, "secure_aggregation": {"retain": "sums"}},
    ),
    (
        ["inner_product", "privacy.unit"],
        {
            "privacy": SERVER,
            "aggregation": UNIFORM,
            "scenario": {"liars": {"fraction": 0.1, "attack": {"name": "inner_product"}}},
        },
    ),
    (
        ["privacy.unit", "evaluation.on"],
        {"privacy": SERVER, "aggregation": UNIFORM, "evaluation": {"on": ["clients"], "holdout": 0.1}},
    ),
    (["evaluation", "holdout"], {"evaluation": {"on": ["server", "clients"]}}),
    (["evaluation", "holdout"], {"evaluation": {"on": ["server"], "holdout": 0.2}}),
    (["aggregation.weight_cap", "own"], {"data": OWN}),
    (["mean", "3"], {"data": {**OWN, "mean": [0.1, 0.2]}, "aggregation": UNIFORM}),
    (["std", "3"], {"data": {**OWN, "std": [0.1, 0.2, 0.3, 0.4]}, "aggregation": UNIFORM}),
]


@pytest.mark.parametrize(("named", "sections"), COMBINATIONS)
def test_an_impossible_combination_is_refused_and_names_both_sides(named: list[str], sections: dict[str, Any]) -> None:
    message = refusal(**sections)
    assert all(name in message for name in named), message


@pytest.mark.parametrize(
    "sections",
    [
        robust(select=5),
        {"aggregation": {"rule": "krum", "byzantine": 2}, "federation": {"clients": 14}},
        {"algorithm": {"name": "fedprox"}, "aggregation": {"rule": "median"}},
        {"algorithm": {"name": "scaffold"}, "server_optimizer": {"name": "sgd"}},
        {"algorithm": {"name": "fednova"}, "server_optimizer": {"name": "adam"}},
        {"data": OWN, "aggregation": {"rule": "mean", "weight_cap": 9}},
        {"data": OWN, "aggregation": {"rule": "median"}},
        {"data": {**OWN, "mean": [0.1, 0.2, 0.3]}, "aggregation": UNIFORM},
        {"evaluation": {"on": ["server", "clients"], "holdout": 0.2}},
        {"privacy": PRIVATE, "algorithm": {"name": "scaffold"}, "training": {"accumulation_steps": 4}},
        {"privacy": {**PRIVATE, "participations": 12}, "training": {"rounds": 10}},
        {"privacy": SERVER, "aggregation": UNIFORM, "training": {"gradient_clip_norm": 1.0, "accumulation_steps": 2}},
        {"privacy": SERVER, "aggregation": UNIFORM, "secure_aggregation": {}},
        {"privacy": CLIENTS, "aggregation": UNIFORM, "secure_aggregation": {"retain": "inputs", "bits": 16}},
        {
            "privacy": {**BANDED, "band": 5},
            "aggregation": UNIFORM,
            "federation": {"clients": 17, "cohort": 3},
            "algorithm": {"name": "fedprox"},
        },
        {"training": {"learning_rate": 1}},
        {"model": {"name": "my.models:factory", "options": {"depth": 3, "kinds": ["a", "b"]}}},
        {"task": {"kind": "my.tasks:segmentation"}},
    ],
)
def test_what_is_possible_is_accepted(sections: dict[str, Any]) -> None:
    made(**sections)


SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "seed": st.integers(0, 2**63 - 1),
    "training": st.fixed_dictionaries(
        {},
        optional={
            "rounds": st.integers(1, 1000),
            "learning_rate": st.floats(1e-9, 1e3),
            "weight_decay": st.floats(0, 1),
            "schedule": st.fixed_dictionaries({}, optional={"kind": st.sampled_from(["cosine", "step"])}),
        },
    ),
    "federation": st.fixed_dictionaries(
        {"clients": st.integers(20, 1000)},
        optional={"cohort": st.integers(1, 20), "partition": st.just({"scheme": "dirichlet", "alpha": 0.3})},
    ),
    "algorithm": st.sampled_from([{"name": "fedavg"}, {"name": "fedprox", "mu": 0.5}, {"name": "scaffold"}]),
    "model": st.sampled_from([{"name": "mlp", "hidden": [3, 4]}, {"name": "a.b:c", "options": {"z": [1], "a": "ü"}}]),
    "evaluation": st.fixed_dictionaries({"every": st.integers(1, 9)}),
    "privacy": st.sampled_from([None, PRIVATE]),
}
EXPERIMENTS = st.fixed_dictionaries({"name": st.just("x")}, optional=SETTINGS)


def reversed_keys(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {key: reversed_keys(content[key]) for key in reversed(content)}


@given(content=EXPERIMENTS)
def test_the_hash_does_not_depend_on_the_order_of_keys(content: dict[str, Any]) -> None:
    assert from_mapping(reversed_keys(content)).hash == from_mapping(content).hash


@given(content=EXPERIMENTS)
def test_the_canonical_form_round_trips(content: dict[str, Any]) -> None:
    experiment = from_mapping(deepcopy(content))
    back = from_canonical(experiment.canonical)
    assert back == experiment
    assert back.canonical == experiment.canonical
    assert experiment.hash == hashlib.sha256(experiment.canonical).hexdigest()


@given(content=EXPERIMENTS, other=EXPERIMENTS)
def test_equal_hashes_mean_equal_experiments(content: dict[str, Any], other: dict[str, Any]) -> None:
    one, two = from_mapping(content), from_mapping(other)
    assert (one.hash == two.hash) == (one == two)


def test_writing_out_a_default_does_not_change_the_hash() -> None:
    default = made()
    spelled = {**default.model_dump(), "outputs": {"directory": "elsewhere", "report": False}}
    assert from_mapping(spelled).hash == default.hash


def test_a_whole_number_and_its_float_are_the_same_rate() -> None:
    assert made(training={"learning_rate": 1}).canonical == made(training={"learning_rate": 1.0}).canonical


def test_outputs_and_simulation_are_not_hashed() -> None:
    sections = {
        "outputs": {"directory": "elsewhere", "report": False, "tensorboard": False},
        "simulation": {"seeded_noise": True},
    }
    assert made(**sections).hash == made().hash
    assert not {"outputs", "simulation"} & set(json.loads(made().canonical))


CHANGES: list[dict[str, Any]] = [
    {"name": "y"},
    {"seed": 1},
    {"data": {"name": "mnist"}},
    {"data": {"train_examples": 59_999}},
    {"task": {"kind": "tabular_classification"}},
    {"model": {"name": "logistic"}},
    {"model": {"name": "mlp"}},
    {"model": {"name": "mlp", "hidden": [201]}},
    {"federation": {"clients": 11}},
    {"federation": {"cohort": 9}},
    {"federation": {"over_selection": 0.1}},
    {"federation": {"minimum": 4}},
    {"federation": {"deadline": 599.0}},
    {"federation": {"attempts": 4}},
    {"federation": {"partition": {"scheme": "natural"}}},
    {"training": {"rounds": 11}},
    {"training": {"local_epochs": 2}},
    {"training": {"local_steps": 2}},
    {"training": {"learning_rate": 0.010000000000000002}},
    {"training": {"threads": 2}},
    {"training": {"device": "auto"}},
    {"training": {"schedule": {"kind": "cosine"}}},
    {"algorithm": {"name": "fedprox"}},
    {"algorithm": {"name": "fedprox", "mu": 0.02}},
    {"server_optimizer": {"name": "sgd", "momentum": 0.9}},
    {"aggregation": {"rule": "median"}},
    {"aggregation": UNIFORM},
    {"aggregation": {"rule": "mean", "range": 4.0}},
    {"privacy": PRIVATE},
    {"privacy": {**PRIVATE, "epsilon": 7.0}},
    {"evaluation": {"every": 2}},
    {"evaluation": {"on": []}},
]


def test_a_purpose_is_shared_where_there_is_one() -> None:
    assert b"purpose" not in made().canonical
    stated = made(purpose="rare diseases")
    assert stated.hash != made().hash
    assert from_canonical(stated.canonical).purpose == "rare diseases"
    assert "purpose" in refusal(purpose="")
    assert "purpose" in refusal(purpose="a\nb")


def test_any_other_change_changes_the_hash() -> None:
    hashes = [made().hash, *(from_mapping({"name": "x", **change}).hash for change in CHANGES)]
    assert len(set(hashes)) == len(hashes)
    assert all(len(value) == 64 and set(value) <= set("0123456789abcdef") for value in hashes)


def test_the_schema_names_every_section_and_every_choice() -> None:
    schema = Experiment.model_json_schema()
    assert set(schema["properties"]) == set(Experiment.model_fields)
    assert schema["required"] == ["name"]
    text = json.dumps(schema)
    for choice in ("fednova", "krum", "geometric_median", "resnet", "dirichlet", "yogi", "fashion-mnist"):
        assert f'"{choice}"' in text


def test_the_schema_is_valid_and_refuses_unknown_keys_everywhere() -> None:
    schema = Experiment.model_json_schema()
    definitions = schema["$defs"]
    assert schema["additionalProperties"] is False
    for name, definition in definitions.items():
        assert definition["type"] == "object", name
        assert definition["additionalProperties"] is False, name
    references = set()

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if "$ref" in part:
                references.add(part["$ref"])
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk(schema)
    assert references == {f"#/$defs/{name}" for name in definitions}
