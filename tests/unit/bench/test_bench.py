"""What the benches measure with and what they make of it: invoices, ratios, books, the page."""

from random import Random
from uuid import uuid4

import pytest

from bench import page
from bench.compare import headline
from bench.end_to_end import check_operator
from bench.installation import BenchError
from bench.payloads import LARGEST_BYTES, SMALLEST_BYTES, draw_size, payloads, write
from pipeline.domain.document import inspect

TOLERANCE_BYTES = 1000
"""A letter of two bytes counts as one where text is cut."""


def test_invoices_pass_inspection_and_differ():
    """Every invoice made to measure with is one that a submit takes, with bytes and a UUID of its own."""
    made = list(payloads(count=300, seed=7))

    numbers = [inspect(each.content, filename="invoice.xml").header.number for each in made]

    assert len(set(numbers)) == len({each.uuid for each in made}) == len({each.content for each in made}) == 300
    assert all(SMALLEST_BYTES <= len(each.content) <= LARGEST_BYTES + TOLERANCE_BYTES for each in made)


def test_same_seed_gives_same_invoices():
    """A figure can be repeated with the very same bytes; more invoices begin with the fewer."""
    assert list(payloads(count=20, seed=3)) == list(payloads(count=40, seed=3))[:20]
    assert list(payloads(count=1, seed=3)) != list(payloads(count=1, seed=4))


def test_sizes_are_like_real_ones():
    """Half of the drawn sizes lie near the published median, and one in twenty carries an attachment."""
    drawn = [draw_size(Random(number)) for number in range(4000)]

    sizes, attached = sorted(size for size, _ in drawn), sum(with_one for _, with_one in drawn)

    assert 8_500 < sizes[2000] < 9_800
    assert 140 < attached < 260
    assert (sizes[0] >= SMALLEST_BYTES, sizes[-1] <= LARGEST_BYTES) == (True, True)


def run(name, rate):
    return {"name": name, "invoices_per_second": rate, "cpu_ms_per_invoice": 1.5}


def test_ratios_are_of_the_same_run():
    """Ours is compared with the tutorial, the best of the others, and the better of the raw clients."""
    runs = [run("postiljon", 1000.0), run("raw-client-1", 1500.0), run("raw-client-2", 2000.0)]
    runs += [run("celery-prefork-8", 80.0), run("celery-threads-50", 250.0), run("taskiq", 200.0)]

    told = headline(runs)

    assert told == {
        "invoices_per_second": 1000.0,
        "times_tutorial": 12.5,
        "times_best_peer": 4.0,
        "share_of_raw_client": 0.5,
        "cpu_ms_per_invoice": 1.5,
    }


def test_no_ratio_without_the_other_side():
    """What was not measured in a run is None, never an old number."""
    assert headline([run("postiljon", 1000.0)])["times_best_peer"] is None
    assert headline([run("taskiq", 200.0)])["invoices_per_second"] is None


class Books:
    def __init__(self, entries):
        self.entries = entries

    def invoices(self):
        return self.entries


@pytest.mark.parametrize(
    "wrong",
    [{"held": 2}, {"held": 0}, {"uploads": 2}, {"held_sha256": "0" * 64}],
    ids=["doubled", "lost", "uploaded twice", "altered"],
)
def test_no_figure_when_the_books_are_wrong(tmp_path, wrong):
    """An invoice that the operator does not hold once with its very bytes ends the measurement."""
    (path,) = write(tmp_path, count=1, seed=1)
    digest = inspect(path.read_bytes(), filename=path.name).sha256.hex()
    good = {"held": 1, "uploads": 1, "held_sha256": digest}

    check_operator(Books({path.stem: good}), [path])
    with pytest.raises(BenchError, match=path.stem):
        check_operator(Books({path.stem: good | wrong}), [path])
    with pytest.raises(BenchError, match=path.stem):
        check_operator(Books({str(uuid4()): good}), [path])


def test_page_marks_noise_and_names_the_command():
    """Each table says how it is repeated, and a figure from a busy machine says so."""
    result = {
        "command": "postiljon bench status",
        "noisy": True,
        "busy_before": 0.9,
        "rows": [{"value": "10 pending", "calls": 1}],
    }

    text = page.section("status", result)

    assert "| 10 pending | 1 |" in text
    assert "`postiljon bench status`" in text
    assert "Noisy" in text
    assert "Noisy" not in page.section("status", result | {"noisy": False})
