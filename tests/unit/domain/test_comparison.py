"""What is told two ways is one invoice all the same."""

import unicodedata

import pytest

from pipeline.domain.comparison import Marks, compare
from pipeline.domain.document_values import clean_text
from pipeline.domain.outcome import TEXT_LIMIT

LONG = "Osakeyhtiö " * 30


def marks(seller, number="1001"):
    return Marks(number=number, total=None, seller=seller, buyer=None)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (unicodedata.normalize("NFD", "Myyjä Oy"), unicodedata.normalize("NFC", "MYYJÄ  OY")),
        ("Myyjä\N{NO-BREAK SPACE}Oy", "Myyjä Oy"),
        (clean_text(LONG), clean_text(LONG, limit=TEXT_LIMIT)),
        (clean_text(unicodedata.normalize("NFD", LONG)), clean_text(LONG, limit=TEXT_LIMIT)),
    ],
    ids=["accents", "blanks", "cut", "accents and cut"],
)
def test_same_name_written_otherwise_is_no_difference(ours, theirs):
    """An innocent invoice is not held because we cut a name where the operator did not, or it writes ä in two parts."""
    for one, other in ((ours, theirs), (theirs, ours)):
        compared = compare(ours=marks(one), theirs=marks(other))

        assert compared.is_same
        assert not compared.is_other


@pytest.mark.parametrize(("ours", "theirs"), [("Myyjä Oy", "Myyja Oy"), (clean_text(LONG), "Osakeyhtiö"), ("…", "A")])
def test_another_name_is_another_invoice(ours, theirs):
    assert compare(ours=marks(ours), theirs=marks(theirs)).is_other
