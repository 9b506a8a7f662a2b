"""Log lines carry their event and ids where a person greps for them."""

import logging

from workers.logbook import FORMAT, KeyedFormatter


def test_keys_stand_behind_the_sentence():
    record = logging.makeLogRecord({"msg": "came %s", "args": ("late",), "levelname": "WARNING"})
    record.__dict__ |= {"event": "late_writer", "invoice": "u-1", "epoch": 7}

    line = KeyedFormatter(FORMAT).format(record)

    assert line.endswith("came late event=late_writer invoice=u-1 epoch=7")
    assert record.msg == "came %s"


def test_lines_of_others_stay_as_they_are():
    record = logging.makeLogRecord({"msg": "ready", "levelname": "INFO"})

    assert KeyedFormatter("%(message)s").format(record) == "ready"
