"""Where each invoice format keeps the address a letter would go to. Tables only: nothing here reads a document.

Paths are written as in `document_paths`; `[2]` behind a path is the second time it occurs with text. The first letter
of a format with an address wins as a whole, for half of one address and half of another reach nobody. Delivery
addresses are left out: goods go there, not invoices. Source: as for the header; TEAPPSXML and e2b as published programs
write and read them, the rest of both (an e-invoice address among it) is not known.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

Joined = tuple[str, ...]
"""Paths whose texts make one text, with a blank between them: street and house number, first and last name."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Letter:
    """One postal address of a format: paths of its parts."""

    names: tuple[Joined, ...]
    """The first with text is the name."""
    lines: tuple[Joined, ...]
    """Every one with text is a line, in this order."""
    post_box: str | None = None
    """Becomes the last line, which stands next to the post code that belongs to it."""
    post_code: str
    post_office: str
    state: str | None = None
    country: str

    def paths(self) -> Iterator[str]:
        """Yield every path of this address."""
        yield from chain.from_iterable((*self.names, *self.lines))
        yield from filter(None, (self.post_box, self.post_code, self.post_office, self.state, self.country))


def _repeated(path: str) -> tuple[Joined, ...]:
    return ((path,), (f"{path}[2]",), (f"{path}[3]",))


def _finvoice(role: str, *, more_names: tuple[Joined, ...] = ()) -> Letter:
    party = f"{role}PartyDetails"
    address = f"{party}/{role}PostalAddressDetails"
    return Letter(
        names=((f"{party}/{role}OrganisationName",), *more_names),
        lines=_repeated(f"{address}/{role}StreetName"),
        post_box=f"{address}/{role}PostOfficeBoxIdentifier",
        post_code=f"{address}/{role}PostCodeIdentifier",
        post_office=f"{address}/{role}TownName",
        state=f"{address}/{role}CountrySubdivision",
        country=f"{address}/CountryCode",
    )


FINVOICE: Final = (_finvoice("InvoiceRecipient"), _finvoice("Buyer", more_names=(("BuyerContactPersonName",),)))
"""An invoice recipient is named where the invoice goes to another than the buyer, an accountant for one."""


def _ubl(party: str, *, address: str) -> Letter:
    place = f"{party}/{address}"
    return Letter(
        names=((f"{party}/PartyLegalEntity/RegistrationName",), (f"{party}/PartyName/Name",)),
        lines=(
            (f"{place}/StreetName", f"{place}/BuildingNumber"),
            (f"{place}/AdditionalStreetName",),
            *_repeated(f"{place}/AddressLine/Line"),
        ),
        post_box=f"{place}/Postbox",
        post_code=f"{place}/PostalZone",
        post_office=f"{place}/CityName",
        state=f"{place}/CountrySubentity",
        country=f"{place}/Country/IdentificationCode",
    )


UBL: Final = (_ubl("AccountingCustomerParty/Party", address="PostalAddress"),)
SVEFAKTURA: Final = (_ubl("BuyerParty/Party", address="Address"),)

_CII_BUYER = "SupplyChainTradeTransaction/ApplicableHeaderTradeAgreement/BuyerTradeParty"
_CII_PLACE = f"{_CII_BUYER}/PostalTradeAddress"

CII: Final = (
    Letter(
        names=((f"{_CII_BUYER}/Name",),),
        lines=((f"{_CII_PLACE}/LineOne",), (f"{_CII_PLACE}/LineTwo",), (f"{_CII_PLACE}/LineThree",)),
        post_code=f"{_CII_PLACE}/PostcodeCode",
        post_office=f"{_CII_PLACE}/CityName",
        state=f"{_CII_PLACE}/CountrySubDivisionName",
        country=f"{_CII_PLACE}/CountryID",
    ),
)

_FPA_BUYER = "FatturaElettronicaHeader/CessionarioCommittente"
_FPA_PERSON = f"{_FPA_BUYER}/DatiAnagrafici/Anagrafica"
_FPA_PLACE = f"{_FPA_BUYER}/Sede"

FATTURAPA: Final = (
    Letter(
        names=((f"{_FPA_PERSON}/Denominazione",), (f"{_FPA_PERSON}/Nome", f"{_FPA_PERSON}/Cognome")),
        lines=((f"{_FPA_PLACE}/Indirizzo", f"{_FPA_PLACE}/NumeroCivico"),),
        post_code=f"{_FPA_PLACE}/CAP",
        post_office=f"{_FPA_PLACE}/Comune",
        state=f"{_FPA_PLACE}/Provincia",
        country=f"{_FPA_PLACE}/Nazione",
    ),
)


def _teapps(role: str) -> Letter:
    party = f"CONTENT_FRAME/INVOICES/INVOICE/{role}CUSTOMER_INFORMATION"
    place = f"{party}/ADDRESS"
    return Letter(
        names=((f"{party}/CUSTOMER_NAME",),),
        lines=((f"{place}/STREET_ADDRESS1",), (f"{place}/STREET_ADDRESS2",)),
        post_code=f"{place}/POSTAL_CODE",
        post_office=f"{place}/POST_OFFICE",
        country=f"{place}/COUNTRY_CODE",
    )


TEAPPSXML: Final = (_teapps("RECEIVER/"), _teapps("PAYER/"), _teapps(""))


def _e2b(address: str) -> Letter:
    party = "Invoice/InvoiceHeader/Buyer"
    place = f"{party}/{address}"
    return Letter(
        names=((f"{party}/Name",),),
        lines=((f"{place}/Address1",), (f"{place}/Address2",)),
        post_code=f"{place}/PostalCode",
        post_office=f"{place}/PostalDistrict",
        country=f"{place}/CountryCode",
    )


E2B: Final = (_e2b("PostalAddress"), _e2b("StreetAddress"))
