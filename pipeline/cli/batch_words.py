"""How `postiljon batch` puts things: objects for scripts, a page for people. Reads nothing itself."""

from rich.console import Group, RenderableType
from rich.text import Text

from pipeline.services.batches import BatchLook
from pipeline.services.cut_offs import tell_missing
from pipeline.services.forecast import shown
from pipeline.storage.batches import COUNTS, PARTS, Batch

STYLES = {"delivered": "green", "failed": "red", "held": "yellow"}
BAR_WIDTH = 40


def as_object(batch: Batch) -> dict[str, object]:
    """Return a batch as scripts may rely on it; `is_complete` is about now, `completed_at` of the first time."""
    return {
        "batch": batch.name,
        "id": batch.id,
        "company": batch.company_id,
        "company_name": batch.company_name,
        **{name: getattr(batch.balance, name) for name in COUNTS},
        "balanced": batch.balance.is_balanced,
        "is_complete": batch.is_through,
        "created_at": batch.created_at,
        "submitted_at": batch.submitted_at,
        "not_before": batch.not_before,
        "closed_at": batch.closed_at,
        "completed_at": batch.completed_at,
        "completed_total": batch.completed_total,
    }


def look_as_object(look: BatchLook) -> dict[str, object]:
    """Return a look at a batch as scripts may rely on it; `accepted_by` is null when it cannot be said."""
    return {
        "at": look.at,
        **as_object(look.batch),
        "states": {state.value: n for state, n in look.states.items()},
        "to_send": look.to_send,
        "accepted_by": look.accepted_by,
        "will_miss": look.missing.will_miss,
        "late": look.missing.late,
        "first_missed_at": look.missing.first_at,
        "waits_for": list(look.waits_for),
    }


def row_of(batch: Batch) -> tuple[Text, ...]:
    """Return a batch as the row of a list."""
    counts = [Text(f"{getattr(batch.balance, name):,}", style=_style(batch, name)) for name in COUNTS]
    return (Text(str(batch.id)), Text(batch.name), Text(batch.company_name), *counts, Text(_standing(batch)))


def for_people(look: BatchLook) -> Group:
    """Return a batch for a screen of 80 columns or more."""
    batch, balance = look.batch, look.batch.balance
    title = Text.assemble((batch.name, "bold"), f"  {batch.company_name}  ", (f"id {batch.id}", "dim"))
    share = f"{batch.done / balance.total:.1%}" if balance.total else "empty"
    gone = balance.total - look.to_send - balance.held
    bar = Text.assemble(_bar(look, gone), f" {share} through, {gone:,} of {balance.total:,} sent or ended")
    parts = Text(f"{balance.total:,} = ")
    for place, name in enumerate(PARTS):
        parts.append(" + " if place else "")
        parts.append(f"{getattr(balance, name):,} {name}", style=_style(batch, name))
    lines: list[RenderableType] = [title, bar, parts, Text(_standing(batch) or "not closed: more may come")]
    lines += [Text(told, style="bold yellow") for told in _ahead(look)]
    lines += [Text(f"waits: {told}", style="yellow") for told in look.waits_for]
    return Group(*lines)


def _bar(look: BatchLook, gone: int) -> Text:
    """Return a bar: full what is through, half what the operator has, light what is still to go."""
    total = max(look.batch.balance.total, 1)
    through, sent = look.batch.done * BAR_WIDTH // total, gone * BAR_WIDTH // total
    return Text.assemble(("█" * through, "green"), ("▒" * (sent - through), "green"), ("░" * (BAR_WIDTH - sent), "dim"))


def _ahead(look: BatchLook) -> list[str]:
    told = []
    if look.to_send and look.accepted_by is not None:
        done = f"the operator has all by about {shown(look.accepted_by, look.at)} at the present speed"
        told.append(f"{look.to_send:,} to send; {done}")
    elif look.to_send:
        told.append(f"{look.to_send:,} to send; when cannot be said yet")
    missing = tell_missing(look.missing, look.at)
    return told + ([missing] if missing else [])


def _standing(batch: Batch) -> str:
    if batch.completed_at is not None:
        told = f"complete since {batch.completed_at:%Y-%m-%d %H:%M:%S} UTC"
        later = batch.balance.total - (batch.completed_total or 0)
        return f"{told}; {later:,} came later" if later else told
    return f"closed {batch.closed_at:%Y-%m-%d %H:%M:%S} UTC" if batch.closed_at is not None else ""


def _style(batch: Batch, part: str) -> str:
    return STYLES.get(part, "") if getattr(batch.balance, part) else "dim"
