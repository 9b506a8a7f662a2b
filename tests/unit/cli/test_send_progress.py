"""How far a long send is, in words that a person can plan by."""

from datetime import UTC, datetime

import pytest

from pipeline.cli.send_progress import SendProgress

NOW = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)


class Seconds:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("total", "about", "words"),
    [
        (100_000, False, "25,000 of 100,000 submitted, 2,500 a second, done at about "),
        (100_000, True, "25,000 of about 100,000 submitted, 2,500 a second, done at about "),
        (None, False, "25,000 submitted, 2,500 a second"),
        (25_000, False, "25,000 of 25,000 submitted, 2,500 a second"),
        (20_000, True, "25,000 of about 25,000 submitted, 2,500 a second"),
    ],
    ids=str,
)
def test_progress_says_how_many_how_fast_and_until_when(capsys, total, about, words):
    seconds = Seconds()
    progress = SendProgress(total, seconds=seconds, now=lambda: NOW, about=about)

    with progress:
        seconds.now = 10.0
        progress.advance(25_000)

    assert progress.words().startswith(words)
    at = (NOW.astimezone()).strftime("%H:00:30")
    assert progress.words().endswith(at) == ("done at" in words)


def test_lines_come_every_few_seconds_where_no_terminal_is(capsys):
    seconds = Seconds()

    with SendProgress(100_000, seconds=seconds, now=lambda: NOW) as progress:
        for _ in range(20):
            seconds.now += 1.0
            progress.advance(500)

    assert len(capsys.readouterr().err.splitlines()) == 4


def test_a_short_send_shows_nothing(capsys):
    seconds = Seconds()

    with SendProgress(300, seconds=seconds, now=lambda: NOW) as progress:
        seconds.now = 60.0
        progress.advance(300)

    assert capsys.readouterr().err == ""
