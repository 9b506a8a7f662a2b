"""Failed invoices with their cases, put into the database by hand, and looks at what became of them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from sqlalchemy import text

from pipeline.services.submit import submit
from pipeline.storage.case_tables import CaseRow, FailureRow, OperatorActionRow, WayOutRow
from pipeline.storage.database import Database

FAILED_AT = datetime(2026, 10, 1, 8, 0, tzinfo=UTC)
COMPANY = "demo"
PATHS = {
    "accepted": ("sending", "accepted"),
    "delivered": ("sending", "accepted", "delivered"),
    "failed": ("sending", "accepted", "failed"),
    "refused": ("sending", "in_doubt", "refused"),
    "held": ("held",),
    "superseded": ("sending", "accepted", "failed", "superseded"),
}
ALL_BUT_RETRY = ["einvoice", "email", "print", "resend", "close"]


class CaseRows:
    """Writes and reads rows of one database."""

    def __init__(self, database: Database):
        self.database = database

    def invoice(self, *, state="failed", number="1", company=COMPANY, batch=None, **content):
        content = invoice_xml(number, **content)
        with self.database.transaction() as session:
            uuid = submit(
                session, company=company, content=content, filename=f"{number}.xml", batch=batch, uuid=uuid4()
            ).uuid
        self.move(uuid, *PATHS.get(state, ()))
        return uuid

    def move(self, uuid: UUID, *states: str):
        for state in states:
            self.change(
                "UPDATE invoice SET state = :state, reason = 'as the test wants', accepted_at = now(),"
                " lease_until = CASE WHEN :state = 'sending' THEN now() END, route_at = NULL,"
                " due_at = CASE WHEN :state = 'in_doubt' THEN now() END, changed_at = now()"
                " WHERE id = :id",
                id=uuid,
                state=state,
            )

    def case(
        self,
        *,
        status="open",
        cause="recipient_address",
        owner="accountant",
        verdict="address-not-found",
        ways=(),
        **given,
    ):
        """A failed invoice with its first failure judged; returns the case's number and the invoice's UUID."""
        at = given.pop("failed_at", FAILED_AT)
        told, channel = given.pop("told", "no such address"), given.pop("channel", "EINVOICE")
        uuid = self.invoice(**given)
        with self.database.transaction() as session:
            company_id = (
                session.connection()
                .execute(text("SELECT company_id FROM invoice WHERE id = :id"), {"id": uuid})
                .scalar_one()
            )
            case = CaseRow(
                company_id=company_id, invoice_id=uuid, status=status, round=1, cause=cause, owner=owner,
                verdict=verdict, verdict_version="1", words="The address is in no directory.",
                advice="Ask the customer for the right address.", ways=list(ways or ALL_BUT_RETRY), failed_at=at,
                plan="no rule fits", opened_at=at, changed_at=at,
                closed_reason="paid by card" if status == "closed" else None,
            )  # fmt: skip
            session.add(case)
            session.flush()
            self.failure(
                case.id,
                uuid,
                at=at,
                session=session,
                told=told,
                channel=channel,
                cause=cause,
                owner=owner,
                verdict=verdict,
            )
            return case.id, uuid

    def failure(self, case_id, uuid, *, at, session=None, **given):
        row = FailureRow(
            case_id=case_id, invoice_id=uuid, at=at, refused=given.pop("refused", False), key="action_route_failed",
            verdict_version="1", **{"cause": "recipient_address", "owner": "accountant", "verdict": "x", "told": None, **given},
        )  # fmt: skip
        self._add(row, session)

    def way(self, case_id, uuid, *, kind="email", status="done", at=FAILED_AT, **given):
        row = WayOutRow(**{
            "case_id": case_id, "invoice_id": uuid, "kind": kind, "fields": {}, "chosen_by": "rule x", "status": status,
            "not_before": at, "epoch": 1, "planned_at": at, "asked": 1, "asked_at": at + timedelta(seconds=1),
            "finished_at": at + timedelta(seconds=2) if status in {"done", "refused", "undone", "skipped"} else None,
            **given,
        })  # fmt: skip
        self._add(row, None)

    def action(self, uuid, *, type, at=FAILED_AT, **given):  # noqa: A002 - the operator's word
        self._add(OperatorActionRow(invoice_id=uuid, type=type, happened_at=at, read_at=at, **given), None)

    def _add(self, row, session):
        if session is not None:
            session.add(row)
            return
        with self.database.transaction() as own:
            own.add(row)

    def query(self, statement, **parameters):
        with self.database.transaction() as session:
            return session.connection().execute(text(statement), parameters).all()

    def change(self, statement, **parameters):
        with self.database.transaction() as session:
            session.connection().execute(text(statement), parameters)

    def ways(self, order=None):
        where = "" if order is None else "WHERE order_id = :order"
        return self.query(f"SELECT * FROM way_out {where} ORDER BY id", **({"order": order} if order else {}))

    def case_row(self, case_id):
        return self.query("SELECT * FROM route_case WHERE id = :id", id=case_id)[0]


ADDRESS = """<cac:PostalAddress><cbc:StreetName>Vanha katu 7</cbc:StreetName>
<cbc:AdditionalStreetName>Porras B</cbc:AdditionalStreetName><cbc:CityName>Turku</cbc:CityName>
<cbc:PostalZone>20100</cbc:PostalZone><cac:Country><cbc:IdentificationCode>FI</cbc:IdentificationCode></cac:Country>
</cac:PostalAddress>"""


def invoice_xml(number, *, email=None, total="12.50", currency="EUR", address=""):
    endpoint = f"<cbc:ElectronicMail>{email}</cbc:ElectronicMail>" if email else ""
    amount = Decimal(total)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Invoice xmlns="urn:oasis:names:specification:ubl:schema:xsd:Invoice-2"
 xmlns:cac="urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2"
 xmlns:cbc="urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2">
<cbc:ID>{number}</cbc:ID><cbc:DocumentCurrencyCode>{currency}</cbc:DocumentCurrencyCode>
<cac:AccountingCustomerParty><cac:Party>{address}<cac:PartyLegalEntity><cbc:RegistrationName>Ostaja Oy</cbc:RegistrationName>
</cac:PartyLegalEntity><cac:Contact>{endpoint}</cac:Contact></cac:Party></cac:AccountingCustomerParty>
<cac:LegalMonetaryTotal><cbc:TaxInclusiveAmount currencyID="{currency}">{amount}</cbc:TaxInclusiveAmount>
</cac:LegalMonetaryTotal></Invoice>""".encode()
