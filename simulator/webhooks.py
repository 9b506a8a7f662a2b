"""Posts webhooks to subscribers on this machine, with the losses, doubles and disorder that the knobs ask for."""

import asyncio
import contextlib
from hashlib import blake2b

import aiohttp

from simulator.notifications import Message, is_loopback
from simulator.simulation import Simulation

LOOK_SECONDS = 0.05  # how often the queue is looked at; far below any settle time that matters
REORDER_SECONDS = 0.5  # how much later a reordered message comes
POSTS_AT_ONCE = 50
SUCCESS = 2  # first digit of a status; nothing else acknowledges


async def post_forever(simulation: Simulation) -> None:
    """Send what is due until cancelled."""
    limit = asyncio.Semaphore(POSTS_AT_ONCE)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        while True:
            for message in simulation.notifications.pop(simulation.clock()):
                if _reordered(simulation, message):
                    continue
                for _ in range(_copies(simulation, message)):
                    group.create_task(_post(simulation, session, limit, message))
            await asyncio.sleep(LOOK_SECONDS)


async def _post(
    simulation: Simulation, session: aiohttp.ClientSession, limit: asyncio.Semaphore, message: Message
) -> None:
    message.tries += 1
    simulation.notifications.note_sent(message)
    if not is_loopback(message.destination):
        simulation.ledger.answered("webhook", "refused-destination")
        return
    outcome = "unreachable"
    timeout = aiohttp.ClientTimeout(total=simulation.knobs.webhook_timeout_seconds)
    with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with (
            limit,
            session.post(message.destination, json=message.body, allow_redirects=False, timeout=timeout) as answer,
        ):
            message.acknowledged = message.acknowledged or answer.status // 100 == SUCCESS
            outcome = str(answer.status)
    simulation.ledger.answered("webhook", outcome)


def _copies(simulation: Simulation, message: Message) -> int:
    if message.tries == 0 and _die(simulation, message, "lost") < simulation.knobs.webhook_lost:
        message.tries = 1
        simulation.notifications.note_sent(message)
        simulation.ledger.answered("webhook", "lost")
        return 0
    return 2 if _die(simulation, message, "duplicated") < simulation.knobs.webhook_duplicated else 1


def _reordered(simulation: Simulation, message: Message) -> bool:
    """Push a message back once so that a later one overtakes it."""
    if message.delayed or _die(simulation, message, "reordered") >= simulation.knobs.webhook_reordered:
        return False
    message.delayed = True
    simulation.notifications.push(simulation.clock() + REORDER_SECONDS, message)
    return True


def _die(simulation: Simulation, message: Message, what: str) -> float:
    """Draw for one event of one invoice; the second failure of an invoice has a draw of its own."""
    earlier = sum(one.event == message.step.event and one.at < message.step.at for one in message.invoice.steps)
    text = f"{simulation.script.seed}|{what}|{message.invoice.id}|{message.step.event}|{earlier}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) / 2**64
