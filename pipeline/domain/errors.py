"""Every error of the product, in one tree. Knows nothing of where they are raised or shown.

PostiljonError                 anything we raise on purpose; its text is one line for a person
+- InvalidInputError           the caller can mend it: what, which one, what to do
|  +- UnknownCompanyError
|  +- UnknownInvoiceError
|  +- UuidConflictError        same UUID, other bytes or other options
|  +- DocumentError ...        the file itself (below)
+- ConfigurationError          this installation is set up wrongly
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


class UuidConflictError(InvalidInputError):
    """A UUID that is taken was submitted with other content; the first submission stands untouched."""


class ConfigurationError(PostiljonError):
    """A setting is missing or wrong; the message names it."""


class ServiceUnavailableError(PostiljonError):
    """A service we depend on cannot be reached now; nothing was lost and trying again is safe."""


class IllegalTransitionError(PostiljonError):
    """A move outside the transition table was attempted; always a bug, never an answer of the operator."""
