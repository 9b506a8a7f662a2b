"""Every error of the product, in one tree. Knows nothing of where they are raised or shown.

PostiljonError                 anything we raise on purpose; its text is one line for a person
+- InvalidInputError           the caller can mend it: what, which one, what to do
|  +- UnknownCompanyError
|  +- UnknownInvoiceError
|  +- UuidConflictError        same UUID, other bytes or other options
|  +- DocumentError ...        the file itself (below)
+- ConfigurationError          this installation is set up wrongly
|  +- DisarmedError            it may not send: a copy, or never armed
+- ServiceUnavailableError     database, broker or an embedded service is not there; trying again is right
+- IllegalTransitionError      a bug: a state was asked to go where the table does not lead
"""


class PostiljonError(Exception):
    """Root of the tree. Catch it at a process edge to print one line instead of a traceback."""


class InvalidInputError(PostiljonError):
    """Something the caller gave cannot be used; nothing was stored."""


class UnknownCompanyError(InvalidInputError):
    """A company was named that this installation does not know."""


class UnknownInvoiceError(InvalidInputError):
    """A UUID was named that this installation does not know."""


class UnknownBatchError(InvalidInputError):
    """There is no such batch."""


class UuidConflictError(InvalidInputError):
    """A UUID that is taken was submitted with other content; the first submission stands untouched."""


class ConfigurationError(PostiljonError):
    """A setting is missing or wrong; the message names it."""


class DisarmedError(ConfigurationError):
    """The installation may look, but change nothing at the operator until a person arms it."""


class ServiceUnavailableError(PostiljonError):
    """A service we depend on cannot be reached now; nothing was lost and trying again is safe."""


class IllegalTransitionError(PostiljonError):
    """A move outside the transition table was attempted; always a bug, never an answer of the operator."""


class DocumentError(InvalidInputError):
    """The file cannot be sent as it is; the message names file, reason and remedy, never what it contains."""


class UnreadableFileError(DocumentError):
    """The file cannot be read: missing, no permission, a device, a broken link, vanished meanwhile."""


class EmptyDocumentError(DocumentError):
    """The file has no bytes, or nothing but blanks."""


class DocumentTooLargeError(DocumentError):
    """The file is larger than the limit of this installation."""


class NotAnInvoiceError(DocumentError):
    """The file is something else: a PDF, a spreadsheet, a web page, plain text."""


class SeveralInvoicesError(DocumentError):
    """One file holds several invoices one after another; one UUID can stand for one of them only."""


class BrokenXmlError(DocumentError):
    """The XML is not well-formed."""


class XmlTooComplexError(DocumentError):
    """The XML is nested too deeply, or one tag, comment or name list is absurdly large."""


class WrongEncodingError(DocumentError):
    """The bytes and the declared encoding contradict each other."""


class ForbiddenXmlError(DocumentError):
    """The XML carries a DTD, and so could carry entities; refused before anything of it is read."""


class BrokenZipError(DocumentError):
    """The ZIP is cut off, damaged, or says two things at once about its entries."""


class UnsupportedZipError(DocumentError):
    """The ZIP uses a compression that not every reader understands."""


class EncryptedZipError(DocumentError):
    """An entry of the ZIP needs a password."""


class ZipBombError(DocumentError):
    """The ZIP unpacks to more bytes or entries than the limits allow."""


class NestedZipError(DocumentError):
    """The ZIP holds another ZIP."""


class UnsafeZipNameError(DocumentError):
    """The name of a ZIP entry points outside, is doubled, or is no ordinary file."""


class ZipWithoutInvoiceError(DocumentError):
    """The ZIP holds no XML that could be the invoice."""


class ZipWithSeveralInvoicesError(DocumentError):
    """The ZIP holds more than one XML that could be the invoice."""
