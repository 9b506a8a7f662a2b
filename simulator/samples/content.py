"""Invents invoices: who, to whom, what, how much. Everything follows from a seed and an index; no clock, no chance."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from random import Random

CENT = Decimal("0.01")
FIRST_DAY = date(2026, 1, 1)
DAYS = 300
ROWS_LIMIT = 12
VAT_RATES = (Decimal("25.5"), Decimal("25.5"), Decimal("25.5"), Decimal("13.5"), Decimal(10), Decimal(0))
BUSINESS_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2)  # Finnish business id: modulo 11, remainder 1 is never given out
REFERENCE_WEIGHTS = (7, 3, 1)  # Finnish payment reference: weights from the right, modulo 10
NAMES = (
    "Mäkelän",
    "Järvisen",
    "Östermanin",
    "Hämäläisen",
    "Maršakin",
    "Nyström &",
    "Håkanssonin",
    "Žižekin",
    "Väyrysen",
)
TRADES = (
    "Rakennus Oy",
    "Kylmälaite Oy",
    "Säätötekniikka Oy",
    "Painotalo Ky",
    "Leipomo Oy",
    "Kuljetus Ab",
    "Siivous Tmi",
)
STREETS = ("Hämeenkatu", "Öljytie", "Mannerheimintie", "Kärkikatu", "Åbovägen", "Satamakatu", "Pähkinäpolku")
TOWNS = (
    ("00100", "Helsinki"),
    ("33100", "Tampere"),
    ("20100", "Turku"),
    ("53100", "Jyväskylä"),
    ("65100", "Pietarsaari"),
)
GOODS = (
    ("Työtunti, sähköasennus", "HUR", "68.00"),
    ("Kylmäaineen täyttö R32", "C62", "145.50"),
    ('Näyttöpääte 27"', "C62", "249.90"),
    ("Käsipyyhe 200 kpl", "XPK", "12.35"),
    ("Kahvi, tumma paahto 500 g (sis. pantti 0,10 €)", "C62", "6.79"),
    ("Ylläpitosopimus, kuukausi", "MON", "890.00"),
    ("Žiletti & partasetti <lahja>", "C62", "19.95"),
    ("Kuljetus, km-veloitus", "KMT", "0.57"),
    ("Šampoo 5 l", "C62", "23.40"),
)  # fmt: skip
OPERATORS = ("DABAFIHH", "NDEAFIHH", "OKOYFIHH", "003721291126")


@dataclass(frozen=True, slots=True)
class Party:
    """A seller or a buyer."""

    name: str
    business_id: str
    street: str
    post_code: str
    town: str
    email: str
    operator: str

    @property
    def vat_number(self) -> str:
        """The VAT number that belongs to the business id."""
        return "FI" + self.business_id.replace("-", "")

    @property
    def e_address(self) -> str:
        """The OVT code: 0037 and the business id."""
        return "0037" + self.business_id.replace("-", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of an invoice."""

    name: str
    unit: str
    quantity: Decimal
    price: Decimal
    vat_rate: Decimal

    @property
    def net(self) -> Decimal:
        """Quantity times price, in cents."""
        return (self.quantity * self.price).quantize(CENT, ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Content:
    """One invented invoice."""

    number: str
    issued: date
    due: date
    reference: str
    iban: str
    seller: Party
    buyer: Party
    rows: tuple[Row, ...]

    @property
    def taxes(self) -> tuple[tuple[Decimal, Decimal, Decimal], ...]:
        """Rate, base and tax for each VAT rate, highest first."""
        rates = sorted({row.vat_rate for row in self.rows}, reverse=True)
        bases = [(rate, sum((row.net for row in self.rows if row.vat_rate == rate), Decimal(0))) for rate in rates]
        return tuple((rate, base, (base * rate / 100).quantize(CENT, ROUND_HALF_UP)) for rate, base in bases)

    @property
    def net(self) -> Decimal:
        """Sum without tax."""
        return sum((base for _, base, _ in self.taxes), Decimal(0)).quantize(CENT)

    @property
    def tax(self) -> Decimal:
        """All tax."""
        return sum((tax for _, _, tax in self.taxes), Decimal(0)).quantize(CENT)

    @property
    def gross(self) -> Decimal:
        """Sum with tax."""
        return self.net + self.tax


def invent(seed: int, index: int) -> Content:
    """Invent the index-th invoice of a seed; numbers differ for every index."""
    chance = Random(f"postiljon|{seed}|{index}")
    issued = FIRST_DAY + timedelta(days=chance.randrange(DAYS))
    seller = _party(Random(f"postiljon|{seed}|seller|{index % 3}"))
    return Content(
        number=f"{seed}{index:07d}",
        issued=issued,
        due=issued + timedelta(days=chance.choice((7, 14, 14, 21, 30))),
        reference=_reference(f"{seed}{index:07d}"),
        iban=_iban(Random(f"postiljon|{seed}|iban|{index % 3}")),
        seller=seller,
        buyer=_party(chance),
        rows=tuple(_row(chance) for _ in range(chance.randint(1, ROWS_LIMIT))),
    )


def _party(chance: Random) -> Party:
    post_code, town = chance.choice(TOWNS)
    return Party(
        name=f"{chance.choice(NAMES)} {chance.choice(TRADES)}",
        business_id=_business_id(chance),
        street=f"{chance.choice(STREETS)} {chance.randint(1, 120)}",
        post_code=post_code,
        town=town,
        email=f"laskut{chance.randint(1, 9999)}@example.invalid",
        operator=chance.choice(OPERATORS),
    )


def _row(chance: Random) -> Row:
    name, unit, price = chance.choice(GOODS)
    quantity = Decimal(chance.randint(1, 48)) / (4 if unit == "HUR" else 1)
    return Row(name, unit, quantity, Decimal(price), chance.choice(VAT_RATES))


def _business_id(chance: Random) -> str:
    while True:
        digits = f"{chance.randint(1_000_000, 3_499_999)}"
        rest = sum(int(digit) * weight for digit, weight in zip(digits, BUSINESS_ID_WEIGHTS, strict=True)) % 11
        if rest != 1:
            return f"{digits}-{11 - rest if rest else 0}"


def _reference(digits: str) -> str:
    weighted = (int(digit) * REFERENCE_WEIGHTS[at % 3] for at, digit in enumerate(reversed(digits)))
    return f"{digits}{-sum(weighted) % 10}"


def _iban(chance: Random) -> str:
    account = f"{chance.randint(10**13, 10**14 - 1)}"
    check = 98 - int(f"{account}151800") % 97  # FI = 15 18, then 00: ISO 13616
    return f"FI{check:02d}{account}"
