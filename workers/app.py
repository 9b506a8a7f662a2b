"""The Celery app, every option with its reason. Reads the settings when Celery first asks for its configuration."""

from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

from pipeline.bootstrap import longest_exchange_seconds
from pipeline.settings import Settings, load_settings
from workers.schedule import beat_schedule

QUEUE_NAMES = ("dispatch", "send", "express", "poll", "route")
"""`express` is read by the workers of `send` too, in turns: a message there waits for one chunk at most, however many
wait in `send`, and cannot keep those waiting either."""

SOFT_LIMIT_MARGIN_SECONDS = 60
"""On top of the longest exchange, for claiming, recording and a token."""
HARD_LIMIT_MARGIN_SECONDS = 60
"""Between the soft limit, which lets a task record what it has, and the kill of its process."""


def configuration(settings: Settings) -> dict[str, Any]:
    """Return Celery's configuration for the settings. Raises: ConfigurationError without a broker."""
    soft_limit = longest_exchange_seconds(settings) + SOFT_LIMIT_MARGIN_SECONDS
    hard_limit = soft_limit + HARD_LIMIT_MARGIN_SECONDS
    return {
        "broker_url": settings.require_broker_url(),
        # The truth is in PostgreSQL: no result backend, nothing to expire, nothing to lose.
        "result_backend": None,
        "task_ignore_result": True,
        # JSON only: a message can carry no object, so no code runs because somebody reached the broker.
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        # Queues by name; a typo fails at once instead of making a queue that nobody reads.
        "task_queues": [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in QUEUE_NAMES],
        "task_default_queue": "dispatch",
        "task_create_missing_queues": False,
        # Acknowledged on receipt. A message is only a bell: the claim in the database makes a doubled one find nothing
        # and the lease brings a lost one back, so late acknowledgement would add redelivery storms and no safety.
        "task_acks_late": False,
        # One message in hand per process: what waits in a worker's memory waits out of turn and dies with it.
        "worker_prefetch_multiplier": 1,
        "task_soft_time_limit": soft_limit,
        "task_time_limit": hard_limit,
        # Flower reads these; they carry counts and UUIDs, no document and no secret.
        "worker_send_task_events": True,
        "task_send_sent_event": False,
        "event_queue_expires": 60,
        # Workers may start before the broker and outlive its restarts; the supervisor restarts those that give up.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 4,
        # A producer never hangs on a dead broker: beat rings in its place.
        "task_publish_retry": False,
        "broker_transport_options": _transport(hard_limit),
        # A process is replaced now and then: a leak of a library stays small.
        "worker_max_tasks_per_child": 10_000,
        "worker_hijack_root_logger": True,
        "worker_redirect_stdouts": False,
        "beat_schedule": beat_schedule(settings),
        # In memory: the ticks are leased in the database, so beat has nothing to remember.
        "beat_scheduler": "celery.beat:Scheduler",
        "beat_max_loop_interval": 1.0,
        "timezone": "UTC",
        "enable_utc": True,
        "imports": ["workers.tasks", "workers.lifecycle", "workers.logbook", "workers.watchdog"],
    }


def _transport(hard_limit: float) -> dict[str, Any]:
    return {
        # Above the hard limit, or a running chunk would be delivered a second time (kombu#337).
        "visibility_timeout": int(hard_limit) + 60,
        "priority_steps": [0],
        # The queue that was just served goes to the end: express chunks pass the others and never starve them.
        "queue_order_strategy": "round_robin",
        "socket_keepalive": True,
        "health_check_interval": 10,
        "socket_connect_timeout": 2,
        "socket_timeout": 10,
        "client_name": "postiljon",
    }


app = Celery("postiljon", set_as_current=True)
app.add_defaults(lambda: configuration(load_settings()))
