"""What the page says around the tables. Figures never stand here: they come from the results."""

INTRODUCTION = """
# Benchmarks

Ratios of things run side by side in one go, on one machine; compare numbers only within a table. No test asserts a
time.

```
make bench                      # the small form of all, a few minutes, prints tables
postiljon bench --help          # each by name, in full
python -m bench --full --save   # everything as on this page, which it writes anew
```

`make install-bench` installs what is measured beside us (the extra `bench`, locked and hashed in
`requirements-bench.lock`); what is not installed is left out and named. The benches are in the source tree and not in
the wheel: a production image has nothing to measure itself with.

**The operator** is a lean stand-in on uvloop (`bench/operator.py`) that keeps the simulator's books (which UUID came,
how often, the SHA-256 of its bytes) at a small part of its CPU; `tests/contract/bench` plays the same requests
against both and compares answers and books. No figure is printed before the books of both sides say: every invoice
once, with its very bytes.

**The invoices** are real UBL that passes our inspection, 4 to 200 KB, sizes drawn from what fits 40 published
invoices (one in twenty with an attachment); seeded, each different.
"""

SECTIONS = {
    "end-to-end": (
        "End to end",
        """
Everything on this one machine in processes of its own: PostgreSQL, Valkey, workers, beat, operator, the process that
submits; production's own settings, with attempts, events, leases and encryption. The clock runs from the first
durable submit (of the others: from the first message asked for) to the last accepted, after a warm-up of all
processes and connections. The others read the same files, upload with one httpx client and write one row into the
same PostgreSQL with one connection for each process or thread (the asynchronous ones: a pool of four), and are given
fewer invoices where they are slow. The raw client is our own upload client with everything in memory, no queue and no
database: the ceiling. Celery runs as tutorials show it (prefork, 8) and, among the others, with 50 threads; dramatiq
with 2 processes of 40 threads (its default is 8; PostgreSQL takes 100 connections), taskiq with 2 workers over a
Redis stream, arq with 2 workers of 100 jobs (0.25: newer ones want an older redis than ours), procrastinate with 2
workers of 100 jobs and deferring in batches, DBOS with one process of 100 workflows polling ten times as often as by
default.
""",
    ),
    "transports": (
        "The transport",
        """
The upload client over httpx's own transport, over pyreqwest behind httpx's interface, and over pyreqwest itself,
which is what we use: one process, a hundred uploads at once, nothing else.
""",
    ),
    "chunks": (
        "The chunk",
        """
End to end by how many invoices one message carries; as many invoices on their way in all. A message costs about 2 ms
CPU to publish and consume, so that one for each invoice is the tutorial again; from a hundred on that cost is gone,
and a worker holds a chunk in memory: 100 is the default, and what the operator shows in one call.
""",
    ),
    "concurrency": (
        "Uploads in the air",
        "End to end by how many uploads one send process has in the air. The default is 200.",
    ),
    "processes": (
        "Send processes",
        """
End to end by the number of send processes, beside everything else on the same cores. The default is 3: with two the
cores are idle for a third of the time, and a fourth is not worth its 150 MB where submitting goes on meanwhile.
""",
    ),
    "one": (
        "One invoice",
        """
From submit to accepted, the operator's own time taken off: invoices submitted one at a time at random moments, first
with nothing else to do, then beside a steady load of others. Target: p50 30 ms, p99 150 ms.
""",
    ),
    "submit": (
        "Submitting",
        """
Until durable, while nobody sends: files on disk in bulk, an NDJSON manifest with its documents in it, and one invoice
in each transaction of a caller's; CPU of the processes that submit and of PostgreSQL's; peak memory of the largest that
submits. Targets: 10,000 a second, and memory that does not grow with the number.
""",
    ),
    "status": (
        "Statuses",
        """
So many accepted invoices whose status may have changed, all due to be looked at: until we know every one. Target for
100,000: under a minute and at most 1,000 calls.
""",
    ),
    "recovery": (
        "A killed worker",
        """
`kill -9` of one send process under load: how long the invoices it had in hand stood still (first and last of them),
and when the whole batch was accepted. The lease of a claim is 30 s: what a dead process had begun is asked about when
it is over, never sent blindly.
""",
    ),
    "memory": (
        "Memory",
        """
What the largest process of each kind takes, in MB of 10^6 bytes: resident at its peak with a backlog, the same with
ZIPs of 20 MB in the air beside another, and its share at rest (PSS). A peak counts in every process the 60 MB that all
of them share since the fork; shares add up to what the machine gives. Nothing of it grows with the backlog: what waits
is in the database.
""",
    ),
    "growth": (
        "Growth",
        """
Every part of the line beside a growing history, generated straight into the tables: milliseconds (p95) and pages
touched. Pages are what stays true on a busy machine; a ratio of 1 is flat.
""",
    ),
    "broker": (
        "The broker",
        "What Valkey holds beside a backlog in the database while no worker reads. Target: under 10 MB.",
    ),
}

AFTER = """
Ideas for figures that are not here are welcome as issues; a figure without its command is not.
"""
