"""The operators that e-invoices can be addressed to: a part of the real list, enough to route by."""

# Operator ids as Finnish senders use them: bank identifier codes, OVT codes, and PEPPOL for the network.
INTERNAL = "003721291126"  # this operator itself
OPERATORS: dict[str, tuple[str, str]] = {
    "PEPPOL": ("Peppol network", "FI"),
    INTERNAL: ("Maventa", "FI"),
    "003723327487": ("Apix Messaging Oy", "FI"),
    "003701011385": ("Tietoevry Oyj", "FI"),
    "BAWCFI22": ("Basware Oyj", "FI"),
    "DABAFIHH": ("Danske Bank Oyj", "FI"),
    "NDEAFIHH": ("Nordea", "FI"),
    "OKOYFIHH": ("OP Ryhmä", "FI"),
    "HELSFIHH": ("Aktia Pankki", "FI"),
    "POPFFI22": ("POP Pankit", "FI"),
    "ITELFIHH": ("Säästöpankit", "FI"),
    "HANDFIHH": ("Handelsbanken", "FI"),
    "INEXCHANGE": ("InExchange", "SE"),
}
