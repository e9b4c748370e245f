"""The report of a run, from stores that were really written: the same numbers, nothing executed, nothing loaded."""

import hashlib
import html
import math
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from leptonic.errors import RunError
from leptonic.experiment_file import from_mapping
from leptonic.pipeline import pipeline_for
from leptonic.privacy.client_level import client_plan
from leptonic_server.privacy_record import PrivacyRecords
from leptonic_server.report import write_report
from leptonic_server.report.axes import ticks, whole_ticks
from leptonic_server.report.markup import text
from leptonic_server.report.wording import bound, duration, in_rounds, measure, size
from leptonic_server.store import ClientRecord, Member, RoundRecord, RunStore

SHA = "0123456789abcdef" * 4


def open_store(folder: Path, *, mode: str = "simulated", **sections: Any) -> RunStore:
    content = {"name": "ward-7", "data": {"name": "digits"}, "model": {"name": "logistic"}, **sections}
    folder.mkdir(parents=True, exist_ok=True)
    store = RunStore(folder)
    store.begin("00ff00ff00ff00ff", from_mapping(content), layout="l", mode=mode, version="0")
    return store


def record(number: int, **changes: Any) -> RoundRecord:
    loss = 2.3 * math.exp(-number / 12) + 0.25 + 0.03 * math.sin(number * 7.3)
    values: dict[str, Any] = {
        "round": number,
        "attempt": 1 if number else 0,
        "model_sha256": SHA[number % 16 :] + SHA[: number % 16],
        "learning_rate": 0.03 if number else 0.0,
        "cohort": 10 if number else 0,
        "survivors": 10 if number else 0,
        "bytes_down": 2_481_930 if number else 0,
        "bytes_up": 2_483_104 + 17 * number if number else 0,
        "seconds": {
            "send": 0.021 + 0.001 * (number % 3),
            "collect": 1.9 + 0.3 * math.sin(number),
            "aggregate": 0.06,
            "evaluate": 0.31 + 0.02 * math.cos(number),
        }
        if number
        else {},
        "metrics": {"loss": loss, "accuracy": 0.92 - 0.82 * math.exp(-number / 6) + 0.008 * math.sin(number * 5)},
        "finished": f"2026-03-04T10:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
    }
    return RoundRecord(**(values | changes))


def commit(store: RunStore, one: RoundRecord, clients: list[ClientRecord] | None = None) -> None:
    store.commit(one, {"model": np.zeros(4, dtype=np.float32)}, clients or [])


def everyone(number: int, clients: int = 10) -> list[ClientRecord]:
    return [ClientRecord(client, "counted", "", 0.1 * (client + 1)) for client in range(clients)] if number else []


def plain_run(folder: Path, *, rounds: int = 3, total: int | None = None, **sections: Any) -> RunStore:
    store = open_store(folder, training={"rounds": total or max(1, rounds)}, **sections)
    for number in range(rounds + 1):
        commit(store, record(number), everyone(number))
    return store


def troubled_run(folder: Path, *, rounds: int = 30) -> RunStore:
    """A deployed run with everything that can go wrong in it."""
    store = open_store(
        folder,
        mode="deployed",
        training={"rounds": rounds, "batch_size": 32},
        federation={"clients": 10, "cohort": 8, "over_selection": 0.25, "minimum": 5},
        privacy={"unit": "example", "epsilon": 8.0, "delta": 1e-5},
    )
    towns = ["Aachen", "Bergen", "Coimbra", "Debrecen", "Erlangen", "Firenze", "Graz", "Helsinki", "Iasi", "Jena"]
    store.enrol([Member(index, f"{town} hospital", f"{index:064x}") for index, town in enumerate(towns)])
    commit(store, record(0))
    for number in range(1, rounds + 1):
        attempt = 1
        if number in (4, 17):
            lost = [ClientRecord(c, "lost" if c % 2 else "failed", "the link lost the message") for c in range(8)]
            store.record_clients(number, 1, lost)
            attempt = 2
        answers = [ClientRecord(c, "counted", "", 1.4 + 0.2 * c, 7.9 * math.sqrt(number / rounds)) for c in range(10)]
        if number % 7 == 3:
            answers[2] = ClientRecord(2, "late")
        if number > 24:
            answers[6] = ClientRecord(6, "refused", "BudgetExhausted: the ledger allows no more rounds of this run")
        if number == 11:
            answers[9] = ClientRecord(9, "invalid", "BadSignature: the reply is not signed with its key")
        counted = [answer for answer in answers if answer.status == "counted"]
        one = record(
            number,
            attempt=attempt,
            survivors=len(counted),
            clamped=3 if number in (1, 2) else 0,
            capped=1 if number == 1 else 0,
            epsilon=max(a.epsilon or 0.0 for a in counted),
        )
        commit(store, one, answers)
    return store


VOID = {"meta", "path", "rect", "line", "circle"}


class Reader(HTMLParser):
    """Elements, attributes and text as a browser would see them; fails on tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID or not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(store: RunStore, **given: Any) -> Reader:
    path = write_report(store, **given)
    assert path == store.folder / "report.html"
    return Reader(path.read_text(encoding="utf-8"))


def skewed(clients: int, classes: int) -> NDArray[np.int64]:
    draw = np.random.default_rng(3)
    return np.stack([draw.multinomial(500, draw.dirichlet([0.5] * classes)) for _ in range(clients)])


def charts(page: Reader) -> list[str]:
    return [str(attributes["aria-label"]).split(".")[0] for tag, attributes in page.elements if tag == "svg"]


def test_every_section_and_chart_is_there(tmp_path: Path) -> None:
    page = read(troubled_run(tmp_path))
    for heading in ("What to know", "The model", "Privacy", "Rounds", "Clients", "Settings"):
        assert heading in page.text
    assert charts(page) == [
        "Accuracy by round",
        "Loss by round",
        "Epsilon by round",
        "Cohort by round",
        "Bytes by round",
        "Time by round",
    ]


def test_numbers_are_those_of_the_terminal(tmp_path: Path) -> None:
    from leptonic_server.outputs import result_of

    store = plain_run(tmp_path, rounds=12)
    result, page = result_of(store), read(store)
    exact = {attributes.get("title") for _, attributes in page.elements}
    assert f"{result.accuracy:.2%}" in page.text
    assert f"best {result.best_accuracy:.2%}" in page.text
    assert str(result.accuracy) in exact
    assert f"{result.bytes_down:,} bytes down, {result.bytes_up:,} bytes up" in exact
    assert f"{result.seconds:.3f} s" in exact
    assert result.model_sha256 in page.text
    assert "sha256sum model.safetensors prints it" in page.text


def test_rounds_table_holds_the_store_exactly(tmp_path: Path) -> None:
    store = plain_run(tmp_path, rounds=5)
    page = read(store)
    for one in store.rounds():
        row = f"{one.round} {one.metrics['accuracy']:.2%} {one.metrics['loss']:.4g} {one.survivors} of {one.cohort} "
        row += f"{one.bytes_down:,} {one.bytes_up:,} {sum(one.seconds.values()):.3f}"
        assert row in page.text


def test_charts_place_values_to_scale(tmp_path: Path) -> None:
    """Accuracies 0, 0.5 and 1 lie at the foot, the middle and the top of the plot."""
    store = open_store(tmp_path, training={"rounds": 2})
    for number, accuracy in enumerate((0.0, 0.5, 1.0)):
        commit(store, record(number, metrics={"accuracy": accuracy}), everyone(number))
    line = next(a["d"] for t, a in read(store).elements if t == "path" and a.get("class") == "line s1")
    points = [tuple(map(float, point.split())) for point in str(line)[1:].split("L")]
    (x0, foot), (x1, middle), (x2, top) = points
    assert top < foot
    assert middle == pytest.approx((foot + top) / 2, abs=0.1)
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)


def test_accuracy_is_drawn_to_scale_over_virtual_time(tmp_path: Path) -> None:
    """At 0, 1 and 4 hours: a quarter of the way along, and all of it."""
    store = open_store(tmp_path, training={"rounds": 2}, scenario={})
    for number, hours in enumerate((0.0, 1.0, 4.0)):
        commit(store, record(number, metrics={"accuracy": 0.5}, virtual_seconds=3600 * hours), everyone(number))
    page = read(store)
    assert charts(page)[:2] == ["Accuracy by round", "Accuracy by virtual time"]
    line = [str(a["d"]) for t, a in page.elements if t == "path" and a.get("class") == "line s1"][1]
    first, second, third = (float(point.split()[0]) for point in line[1:].split("L"))
    assert (second - first) / (third - first) == pytest.approx(0.25, abs=0.002)
    assert "After 1 h 00 min" in page.text
    assert "hours" in page.text


def test_no_time_is_drawn_where_none_passed(tmp_path: Path) -> None:
    store = open_store(tmp_path, training={"rounds": 1}, scenario={})
    for number in range(2):
        commit(store, record(number, virtual_seconds=0.0), everyone(number))
    assert "Accuracy by virtual time" not in charts(read(store))


def test_liars_are_named_in_the_report(tmp_path: Path) -> None:
    liars = {"fraction": 0.2, "attack": {"name": "gaussian"}}
    text = read(plain_run(tmp_path, scenario={"liars": liars})).text
    assert "2 of 10 clients lied, as the scenario says" in text
    assert "Their attack was gaussian." in text


def test_bars_stack_to_the_sum(tmp_path: Path) -> None:
    store = open_store(tmp_path, training={"rounds": 1})
    commit(store, record(0))
    commit(store, record(1, metrics={}, bytes_down=3_000_000, bytes_up=1_000_000), everyone(1))
    bars = [str(a["d"]) for t, a in read(store).elements if t == "path" and str(a.get("class")).startswith("bar")]
    heights = []
    for bar in bars[:2]:
        foot, top = map(float, re.findall(r"M\S+ ([\d.]+)V([\d.]+)", bar)[0])
        heights.append((foot, top))
    (down_foot, down_top), (up_foot, up_top) = heights
    assert up_foot == down_top
    assert (down_foot - down_top) / (up_foot - up_top) == pytest.approx(3.0, rel=0.01)


def test_what_went_wrong_is_said(tmp_path: Path) -> None:
    text = read(troubled_run(tmp_path)).text
    assert "2 rounds had to be repeated In rounds 4 and 17 fewer than the needed 5 clients" in text
    # 16 of the attempts in vain; client 2 late in rounds 3, 10, 17, 24; client 6 refused 25-30; client 9 invalid in 11.
    assert "27 invitations of 316 did not end in a counted update" in text
    assert "6 values were cut off from the clients' updates They lay outside \u00b18 (aggregation.range)" in text
    assert "1 weight of a large client was capped" in text
    assert "Coimbra hospital 32 26 4 2 0 0 0 1.80 s 7.9 round 24, late" in text
    assert "Graz hospital 32 24 0 2 6 0 0 2.60 s 7.066 round 30, refused: BudgetExhausted" in text
    assert "epsilon at most 8 at delta = 1e-05" in text
    assert "The largest epsilon that a client has reported is 7.9." in text


def test_a_run_without_trouble_says_so(tmp_path: Path) -> None:
    page = read(plain_run(tmp_path))
    assert "Nothing out of the ordinary Every one of the 30 invitations ended in a counted update" in page.text
    assert "Cohort by round" not in charts(page)
    assert "No differential privacy" in page.text


def test_seeded_noise_protects_nobody_and_is_not_called_private(tmp_path: Path) -> None:
    privacy = {"unit": "example", "epsilon": 4.0, "delta": 1e-5}
    text = read(plain_run(tmp_path, privacy=privacy, simulation={"seeded_noise": True})).text
    assert text.count("Privacy noise drawn from the seed: protects nobody") == 2
    assert "Example-level differential privacy" not in text


def test_epsilon_over_the_target_is_said(tmp_path: Path) -> None:
    store = open_store(tmp_path, training={"rounds": 1}, privacy={"unit": "example", "epsilon": 1.0, "delta": 1e-5})
    commit(store, record(0))
    commit(store, record(1, epsilon=1.5), [ClientRecord(0, "counted", epsilon=1.5)])
    assert "A client reports more epsilon than the target It says 1.5, the experiment allows 1." in read(store).text


def test_epsilon_is_the_largest_of_all_rounds(tmp_path: Path) -> None:
    """The client that has spent most need not be in the last cohort."""
    store = open_store(tmp_path, training={"rounds": 2}, privacy={"unit": "example", "epsilon": 3.0, "delta": 1e-5})
    commit(store, record(0))
    commit(store, record(1, epsilon=2.5), [ClientRecord(0, "counted", epsilon=2.5)])
    commit(store, record(2, epsilon=1.0), [ClientRecord(1, "counted", epsilon=1.0)])
    assert "Epsilon 2.5 of 3" in read(store).text


MECHANISMS: list[tuple[dict[str, Any], str, str, str]] = [
    (
        {"mechanism": "distributed"},
        "by integer noise that each client adds before secure aggregation",
        "against the server, other clients and those who get the model, at most 6 of the 14 clients in a sum colluding",
        "from each client, of whom 8 are counted on, in words of 32 bits",
    ),
    (
        {"mechanism": "local"},
        "by noise in each client's own message",
        "against everyone, the server and all other clients together",
        "Each client adds all the noise that protects it.",
    ),
    (
        {"mechanism": "server"},
        "by noise that the server adds to each sum",
        "but not against the server. ",
        "The server must be trusted to add the noise: it sees each update. Gaussian noise with a multiplier of",
    ),
    (
        {"mechanism": "correlated", "band": 5},
        "by noise that the server correlates over rounds",
        "but not against the server. ",
        "The server must be trusted to add the noise: it can undo it.",
    ),
]


@pytest.mark.parametrize(("privacy", "by", "against", "further"), MECHANISMS)
def test_client_level_names_mechanism_and_adversary(
    tmp_path: Path, privacy: dict[str, Any], by: str, against: str, further: str
) -> None:
    """As a run writes it, with the epsilon of the plan where clients report none."""
    sections: dict[str, Any] = {
        "privacy": {"unit": "client", "epsilon": 4.0, "delta": 1e-3, "clip_norm": 0.5, **privacy},
        "federation": {"clients": 100, "cohort": 20},
        "aggregation": {"rule": "mean", "weighting": "uniform"},
        "training": {"rounds": 10},
        **({"secure_aggregation": {}} if privacy["mechanism"] == "distributed" else {}),
    }
    store = open_store(tmp_path, mode="deployed", **sections)
    records = PrivacyRecords(store.experiment, pipeline_for(store.experiment, 650), store)
    commit(store, record(0))
    for number in range(1, 11):
        clients = {
            client: ClientRecord(client, "counted") for client in range(20 * (number % 5), 20 * (number % 5) + 20)
        }
        commit(store, record(number, privacy=records.after(number, clients)), list(clients.values()))
    page = read(store)
    assert f"Client-level differential privacy {by}, with epsilon at most 4 at delta = 0.001, per client" in page.text
    assert against in page.text
    assert further in page.text
    spent = client_plan(store.experiment, 650).epsilon(2)
    assert (
        f"No client has spent more than epsilon = {bound(spent)}: each was asked to join 2 rounds at most." in page.text
    )
    assert f"Epsilon {bound(spent)} of 4 \u00b7 delta 0.001" in page.text
    assert "Epsilon by round" in charts(page)
    assert "Example-level" not in page.text
    store.close()


def test_model_file_is_compared(tmp_path: Path) -> None:
    content = b"the model"
    store = open_store(tmp_path, training={"rounds": 1})
    commit(store, record(0))
    commit(store, record(1, model_sha256=hashlib.sha256(content).hexdigest()), everyone(1))
    (tmp_path / "model.safetensors").write_bytes(content)
    assert "it is this model" in read(store).text
    (tmp_path / "model.safetensors").write_bytes(b"another model")
    assert "model.safetensors is not the model of this run" in read(store).text


ATTACK = "</td><script>alert('x')</script><img src=x onerror=alert(1)>\" onload=\"x"


def test_what_comes_from_the_network_stays_text(tmp_path: Path) -> None:
    store = open_store(tmp_path, training={"rounds": 1}, federation={"clients": 2})
    store.enrol([Member(0, ATTACK), Member(1, "evil\u202egnp\x1b[31m\nname")])
    commit(store, record(0))
    answers = [ClientRecord(0, "failed", ATTACK), ClientRecord(1, "counted")]
    commit(store, record(1, metrics={"accuracy": 0.5, ATTACK: 1.0}, seconds={ATTACK: 1.0}), answers)
    page = read(store, label_counts=skewed(2, 3), class_names=[ATTACK, "b", "c"])
    assert f"round 1, failed: {ATTACK}" in page.text
    assert "evil\ufffdgnp\ufffd[31m name" in page.text
    assert {"script", "img", "a", "link", "iframe", "object"}.isdisjoint(tag for tag, _ in page.elements)
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_nothing_is_loaded_and_no_script_may_run(tmp_path: Path) -> None:
    page = read(troubled_run(tmp_path))
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|javascript:", source)
    assert not {"src", "href", "xlink:href"} & {name for _, attributes in page.elements for name in attributes}
    policies = [a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_the_same_store_gives_the_same_bytes(tmp_path: Path) -> None:
    store = troubled_run(tmp_path)
    first = write_report(store).read_bytes()
    store.close()
    again = RunStore(tmp_path)
    assert write_report(again).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_only_the_first_model(tmp_path: Path) -> None:
    store = open_store(tmp_path, training={"rounds": 10})
    commit(store, record(0, metrics={}))
    page = read(store)
    assert "Unfinished: round 0 of 10" in page.text
    assert "Accuracy \u2013 was not evaluated" in page.text
    assert "Nothing to draw yet" in page.text
    assert "prints it" not in page.text
    assert charts(page) == []


def test_the_clients_accuracy_stands_in_for_the_servers(tmp_path: Path) -> None:
    store = open_store(tmp_path, mode="deployed", training={"rounds": 1})
    commit(store, record(0, metrics={}))
    commit(store, record(1, metrics={}, client_metrics={"accuracy": 0.75, "loss": 0.5}), everyone(1))
    assert "Final accuracy 75.00% best 75.00% in round 1 \u00b7 the clients' held-out data" in read(store).text


def test_a_loss_that_left_the_numbers_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path, training={"rounds": 2})
    commit(store, record(0))
    commit(store, record(1, metrics={"loss": math.inf, "accuracy": 0.1}), everyone(1))
    commit(store, record(2, metrics={"loss": math.nan, "accuracy": 0.1}), everyone(2))
    page = read(store)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.text.count("not finite") == 2
    assert not re.search(r"\bnan\b|\binf\b", source, re.IGNORECASE)


def test_label_counts_stand_in_the_map(tmp_path: Path) -> None:
    counts = np.array([[30, 10, 0], [0, 1000, 250]])
    page = read(plain_run(tmp_path), label_counts=counts, class_names=["cat", "dog", "owl"])
    assert "client-0 \u00b7 cat: 30 (75.0%)" in page.text
    assert "client-1 \u00b7 owl: 250 (20.0%)" in page.text
    assert "1,290 examples; a client holds 2 of 3 classes." in page.text


@pytest.mark.parametrize(
    ("clients", "classes", "words"),
    [
        (61, 10, "an evenly spaced sample of 60 of the 61 clients"),
        (3000, 10, "an evenly spaced sample of 60 of the 3,000 clients"),
        (5, 100, "the 30 most frequent classes"),
    ],
)
def test_large_label_maps_are_sampled_and_say_so(tmp_path: Path, clients: int, classes: int, words: str) -> None:
    page = read(plain_run(tmp_path), label_counts=skewed(clients, classes))
    assert words in page.text
    assert sum(a.get("class") == "heat" for _, a in page.elements) == min(clients, 60) * min(classes, 30)


def test_a_deployed_run_has_no_labels(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="must not be known here"):
        write_report(troubled_run(tmp_path, rounds=3), label_counts=skewed(10, 10))
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("shape", [(10,), (0, 10), (3, 0)])
def test_label_counts_need_two_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(RunError, match="expected \\(clients, classes\\)"):
        write_report(plain_run(tmp_path), label_counts=np.zeros(shape, dtype=np.int64))


def test_nothing_to_report_before_the_first_model(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing to report"):
        write_report(open_store(tmp_path))


def test_hundreds_of_rounds_and_clients_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path, training={"rounds": 500}, federation={"clients": 500, "cohort": 20})
    # The test is about the page: committing 500 rounds to disk durably would take longer than the page.
    monkeypatch.setattr("leptonic_server.store.overwrite", lambda path, content, private: None)
    store._database.execute("PRAGMA synchronous = OFF")
    for number in range(501):
        cohort = [ClientRecord((number * 20 + i) % 500, "late" if i == number % 7 else "counted") for i in range(20)]
        commit(store, record(number, cohort=20, survivors=19), cohort if number else [])
    started = time.perf_counter()
    page = read(store, label_counts=skewed(500, 10))
    assert time.perf_counter() - started < 3.0
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    assert "Drawn: 400 of 501 rounds." in page.text
    assert "Shown: 200 of 501 rounds" in page.text
    assert "Shown: the 100 of 500 clients that were most often not counted." in page.text


def test_settings_are_complete_and_changes_stand_out(tmp_path: Path) -> None:
    store = plain_run(tmp_path, federation={"clients": 4, "partition": {"scheme": "dirichlet"}})
    page = read(store)
    content = store.experiment.model_dump(mode="json")
    for section, values in content.items():
        for key in values if isinstance(values, dict) else [section]:
            assert re.search(rf"\b{key}\b", page.text), key
    assert "partition.scheme dirichlet" in page.text
    assert "partition.alpha 0.5" in page.text
    rows = re.findall(r"<code>([\w.]+)</code></th><td class=\"changed\">", (tmp_path / "report.html").read_text())
    assert {"name", "clients", "partition.scheme", "rounds"} - set(rows) <= {"rounds"}
    assert "batch_size" not in rows


@given(st.text())
def test_text_cannot_become_markup(value: str) -> None:
    escaped = text(value)
    assert not set(escaped) & set("<>\"'\n\x00\u202e")
    assert len(html.unescape(escaped)) == len(value)
    if value.isprintable():
        assert html.unescape(escaped) == value
    escaped.encode()


finite = st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-9)


@given(finite, finite)
def test_ticks_enclose_with_equal_round_steps(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    marks = ticks(low, high)
    slack = 1e-6 * (marks[-1] - marks[0])
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert 2 <= len(marks) <= 6
    steps = np.diff(marks)
    assert np.allclose(steps, steps[0])
    assert f"{steps[0]:.3e}"[0] in "125"


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_round_ticks_are_whole_and_few(low: int, length: int) -> None:
    marks = whole_ticks(low, low + length)
    assert marks[0] == low
    assert marks == sorted(set(marks))
    assert marks[-1] <= low + length
    assert len(marks) <= 11


@given(st.floats(0, 1e6))
def test_an_epsilon_is_never_rounded_down(epsilon: float) -> None:
    assert float(bound(epsilon)) >= epsilon * (1 - 1e-9) - 1e-9
    assert float(bound(epsilon)) <= epsilon + 0.0011


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (size(0), "0 bytes"),
        (size(1), "1 byte"),
        (size(999), "999 bytes"),
        (size(1000), "1.00 kB"),
        (size(999_999), "1.00 MB"),
        (size(12_345_678), "12.3 MB"),
        (size(2.5e12), "2.50 TB"),
        (duration(0), "0 s"),
        (duration(0.0042), "4.2 ms"),
        (duration(0.126), "0.13 s"),
        (duration(59.9), "59.9 s"),
        (duration(59.96), "1 min 00 s"),
        (duration(3599.6), "1 h 00 min"),
        (duration(7384), "2 h 03 min"),
        (duration(200_000), "2 d 08 h"),
        (in_rounds([5]), "round 5"),
        (in_rounds([9, 4]), "rounds 4 and 9"),
        (in_rounds([1, 4, 5, 6, 7, 12]), "rounds 1, 4\u20137 and 12"),
        (in_rounds(range(0, 40, 2)), "rounds 0, 2, 4, 6, 8, 10, 12, 14 and others"),
        (measure("accuracy", 0.91234), "91.23%"),
        (measure("loss", 0.123456), "0.1235"),
    ],
)
def test_wording(written: str, expected: str) -> None:
    assert written == expected
