"""The operator's way of saying no: a status and a body of code, message and details. Knows nothing of HTTP servers."""


class Refusal(Exception):  # noqa: N818 - the operator refuses; for the simulator this is a normal answer
    """An answer that is not a success, raised where the reason is known."""

    def __init__(
        self, status: int, code: str, message: str, details: list[str] | None = None, *, retry_after: str | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details or []
        self.retry_after = retry_after

    def body(self) -> dict[str, object]:
        """Tell the refusal in the operator's one error shape."""
        return {"code": self.code, "message": self.message, "details": self.details}


class SettingError(Exception):
    """A knob, a fault rule or a company was given in a form that the simulator does not understand."""


def invalid_parameters(*details: str) -> Refusal:
    """Refuse a request whose parameters break the published rules."""
    return Refusal(400, "invalid_parameters", "Request parameters are invalid", list(details))


def not_found() -> Refusal:
    """Refuse what does not exist and, alike, what belongs to somebody else."""
    return Refusal(404, "not_found", "Requested resource not found or you don't have access to it")


def unauthorized(message: str = "Unauthorized", status: int = 401) -> Refusal:
    """Refuse a missing, expired or insufficient token."""
    return Refusal(status, "auth_unauthorized" if status == 401 else "forbidden", message)  # noqa: PLR2004 - HTTP
