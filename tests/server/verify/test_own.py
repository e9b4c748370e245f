"""What a data owner learns of its part, and what a coordinator that changes things afterwards cannot hide from it."""

from dataclasses import replace

import pytest
from tests.server.verify.deployed import LATE, Deployed

from leptonic.errors import InconsistentCohort
from leptonic.node_journal import Notes, OwnSession
from leptonic.secagg.roster import Roster
from leptonic_server.verify.own import own_part

ONE = b"client-1"


def test_every_input_is_counted_as_it_was_sent(whole: Deployed) -> None:
    part = own_part(whole.chain(), ONE, whole.notes(ONE))
    assert part.counted == {1: 5, 2: 4, 3: 5}
    assert (part.left_out, part.silent, part.shown) == ([], [], [1, 2, 3])


def test_an_input_that_was_left_out_is_said_so(whole: Deployed) -> None:
    part = own_part(whole.chain(), LATE, whole.notes(LATE))
    assert part.counted == {1: 5, 3: 5}
    assert part.left_out == [2]


def test_without_notes_it_is_only_known_that_none_is_counted(whole: Deployed) -> None:
    part = own_part(whole.chain(), LATE, None)
    assert (part.counted, part.left_out, part.silent, part.shown) == ({1: 5, 3: 5}, [], [2], [])


def test_who_is_not_on_the_roster_has_no_part(whole: Deployed) -> None:
    with pytest.raises(InconsistentCohort, match="no roster of this run names nobody"):
        own_part(whole.chain(), b"nobody", None)


def changed(notes: Notes, session: bytes, **changes: object) -> Notes:
    own: OwnSession = replace(notes.sessions[session], **changes)  # type: ignore[arg-type]
    return replace(notes, sessions={**notes.sessions, session: own})


def test_an_input_that_the_node_did_not_send(whole: Deployed) -> None:
    chain, notes = whole.chain(), whole.notes(ONE)
    session = chain.links[0].graph.session
    for lied in (changed(notes, session, header=bytes(32)), changed(notes, session, header=None)):
        with pytest.raises(InconsistentCohort, match="round 1: counts an input"):
            own_part(chain, ONE, lied)


def test_an_input_of_which_the_node_has_no_notes_is_no_accusation(whole: Deployed) -> None:
    chain, notes = whole.chain(), whole.notes(ONE)
    session = chain.links[0].graph.session
    unknown = replace(notes, sessions={name: own for name, own in notes.sessions.items() if name != session})
    part = own_part(chain, ONE, unknown)
    assert part.counted == {1: 5, 2: 4, 3: 5}
    assert part.unnoted == [1]


def test_a_sum_that_was_opened_without_the_nodes_signature_is_said_so(whole: Deployed) -> None:
    chain = whole.chain()
    notes = changed(whole.notes(ONE), chain.links[1].graph.session, survivors=None, given_up=True)
    assert own_part(chain, ONE, notes).unsigned == [2]


def test_survivors_were_signed_and_no_record_names_them(whole: Deployed) -> None:
    notes = whole.notes(ONE)
    more = {**notes.sessions, b"s" * 32: OwnSession(2, b"h" * 32, b"l" * 32, False)}
    assert own_part(whole.chain(), ONE, notes).unnamed == []
    assert own_part(whole.chain(), ONE, replace(notes, sessions=more)).unnamed == [2]


def test_a_last_round_that_was_taken_away_before_its_record_was_shown(made: Deployed) -> None:
    with made.database() as database:
        database.execute("DELETE FROM transcripts WHERE round = 3")
        database.execute("DELETE FROM rounds WHERE round = 3")
    notes = made.notes(ONE)
    unshown = replace(notes, records={number: digest for number, digest in notes.records.items() if number < 3})
    assert own_part(made.chain(), ONE, unshown).unnamed == [3]


def test_who_was_on_the_roster_for_some_rounds_has_a_part_in_those(whole: Deployed) -> None:
    chain = whole.chain()
    content = chain.links[2].roster.content
    fewer = replace(content, entries=tuple(entry for entry in content.entries if entry.client != ONE))
    signed = replace(chain.links[2].roster.signed, content=fewer)
    later = replace(chain.links[2], roster=Roster(signed))
    part = own_part(replace(chain, links=(*chain.links[:2], later)), ONE, None)
    assert (part.counted, part.absent) == ({1: 5, 2: 4}, [3])


def test_survivors_that_the_node_did_not_sign(whole: Deployed) -> None:
    chain = whole.chain()
    lied = changed(whole.notes(ONE), chain.links[1].graph.session, survivors=bytes(32))
    with pytest.raises(InconsistentCohort, match="round 2: its survivors are not those"):
        own_part(chain, ONE, lied)


def test_a_last_record_that_was_changed_afterwards(made: Deployed) -> None:
    # Nothing comes after it, so that its chain holds; but it was shown to its survivors.
    made.rewrite(3, lambda record: replace(record, sum=bytes(32)))
    chain = made.chain()
    assert own_part(chain, ONE, None).counted
    with pytest.raises(InconsistentCohort, match="round 3: its record was changed since this node was shown it"):
        own_part(chain, ONE, made.notes(ONE))


def test_a_last_round_that_was_taken_away(made: Deployed) -> None:
    with made.database() as database:
        database.execute("DELETE FROM transcripts WHERE round = 3")
        database.execute("DELETE FROM rounds WHERE round = 3")
    with pytest.raises(InconsistentCohort, match="round 3: its record is missing"):
        own_part(made.chain(), ONE, made.notes(ONE))
