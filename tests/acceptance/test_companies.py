"""Companies: tokens that end, keys that are refused, and one company's month end beside another's single invoice."""

from .installation import Installation
from .operator_side import COMPANY_A, COMPANY_B
from .papers import papers


def test_tokens_that_end_in_the_middle_hold_nobody(line: Installation):
    """Tokens that end while their uploads are in the air cost a refresh, never an invoice and never a hold."""
    line.operator.faults([{"fault": "slow", "seconds": 0.5, "attempt": "first"}])
    before = line.uploads()
    sent = line.submit(papers(300))

    for middle in (20, 150, 250):
        line.wait_for_uploads(middle, sent, since=before)
        line.operator.expire_tokens()

    line.wait_until_taken(sent, seconds=60)
    ledger = line.assert_once(sent)
    assert {ledger[one.uuid]["uploads"] for one in sent} == {1}, "no upload is repeated for a token's sake"
    assert set(line.hold_reasons().values()) == {None}
    assert all(events["released"] == 0 for events in line.events(sent).values())


def test_token_storm_ends_by_itself(line: Installation):
    """Where every twentieth upload ends all tokens, a company may be held for a moment and is let go by itself."""
    line.operator.faults([{"fault": "token-storm", "probability": 0.05}])

    sent = line.submit(papers(200))

    line.wait_until_taken(sent, seconds=60)
    line.assert_once(sent)
    line.wait_for(lambda: set(line.hold_reasons().values()) == {None}, "an end of the hold", sent, seconds=20)


def test_one_token_serves_the_whole_fleet(line: Installation):
    """After all tokens have ended, the fleet fetches one for the company, not one for each invoice."""
    line.wait_until_taken(line.submit(papers(1)), seconds=30)
    line.operator.expire_tokens()
    before = _tokens_granted(line)

    sent = line.submit(papers(200))

    line.wait_until_taken(sent, seconds=60)
    line.assert_once(sent)
    # The sending children may each meet the old token in their memory once; followers and keepers ask too.
    assert 1 <= _tokens_granted(line) - before <= 5


def test_refused_keys_hold_one_company(line: Installation):
    """A company whose keys are refused is held with the cause; the other sends on; it goes on by itself later."""
    line.operator.company(COMPANY_A, user_key="another-key")
    line.operator.expire_tokens()

    refused = line.submit(papers(60), company=COMPANY_A)
    unaffected = line.submit(papers(60), company=COMPANY_B)

    line.wait_until_taken(unaffected, seconds=30)
    line.wait_for(lambda: line.hold_reasons()[COMPANY_A] is not None, "a hold", refused, seconds=30)
    assert line.hold_reasons()[COMPANY_B] is None
    assert line.taken(refused) == 0
    assert not any(entry["held"] for uuid, entry in line.operator.ledger().items() if uuid in {r.uuid for r in refused})

    line.operator.company(COMPANY_A, user_key="demo-user-key")

    line.wait_until_taken(refused, seconds=30)
    line.assert_once([*refused, *unaffected])
    assert line.hold_reasons()[COMPANY_A] is None


def test_company_shut_out_in_the_middle(line: Installation):
    """A company that the operator shuts out in the middle goes on where it was, once it is let in again."""
    line.operator.faults([{"fault": "slow", "seconds": 0.5, "attempt": "first"}])
    before = line.uploads()
    sent = line.submit(papers(300))
    line.wait_for_uploads(50, sent, since=before)

    line.operator.company(COMPANY_A, key_disabled=True)
    line.wait_for(lambda: line.hold_reasons()[COMPANY_A] is not None, "a hold", sent, seconds=30)
    line.operator.company(COMPANY_A, key_disabled=False)

    line.wait_until_taken(sent, seconds=60)
    line.assert_once(sent)


def test_urgent_invoice_overtakes_a_month_end(line: Installation):
    """One company's 500 waiting invoices do not hold up another's single one: it goes before half of them."""
    line.operator.faults([{"fault": "slow", "seconds": 1.0, "attempt": "first"}])
    before = line.uploads()
    month_end = line.submit(papers(500), company=COMPANY_A)
    line.wait_for_uploads(10, month_end, since=before)

    urgent = line.submit(papers(1), company=COMPANY_B)

    line.wait_until_taken([*urgent, *month_end], seconds=60)
    ledger = line.assert_once([*urgent, *month_end])
    waiting = {one.uuid for one in month_end}
    arrived = [uuid for uuid in ledger if uuid in waiting or uuid == urgent[0].uuid]
    assert arrived.index(urgent[0].uuid) < len(month_end) / 2


def _tokens_granted(line: Installation) -> int:
    requests = line.operator.totals()["requests"]
    return sum(count for name, count in requests.items() if name == "POST /oauth2/token 200")


def test_an_unverified_company_waits_until_it_is_verified(line: Installation):
    """A thousand invoices of an unverified company wait as held, burn nothing, and go out by themselves after it is verified."""
    line.operator.company(COMPANY_A, company_state="UNVERIFIED")
    before = line.uploads()

    waiting = line.submit(papers(1000))
    unaffected = line.submit(papers(50), company=COMPANY_B)

    line.wait_until_taken(unaffected, seconds=30)
    line.wait_for_state(waiting, "held", seconds=60)
    assert line.hold_reasons()[COMPANY_B] is None
    ledger = line.operator.ledger()
    assert not any(ledger[one.uuid]["held"] for one in waiting if one.uuid in ledger)
    spent = line.uploads() - before

    line.operator.company(COMPANY_A, company_state="VERIFIED")

    line.wait_until_taken(waiting, seconds=90)
    line.assert_once([*waiting, *unaffected])
    assert spent < 300, "a held company's invoices are not tried one by one"
