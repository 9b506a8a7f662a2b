"""The routing rules in force: read from the file of the settings whenever it has changed. Knows nothing of who asks."""

import logging
from pathlib import Path

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.routing import Routing, default_routing
from pipeline.domain.routing_file import parse_routing
from pipeline.domain.routing_rows import builtin_table

log = logging.getLogger(__name__)


def read_routing(path: Path | None) -> Routing:
    """Return the rules of a file, or those without any. Raises: ConfigurationError naming each wrong line."""
    table = builtin_table()
    if path is None:
        return default_routing(table)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"cannot read the routing rules {path}: {exc}") from exc
    return parse_routing(text, source=path.name, table=table)


class RoutingSource:
    """Returns the rules in force; a file with errors leaves every decision to a person until it is mended."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._routing: Routing | None = None

    def __call__(self) -> Routing:
        """Return the rules, read anew if the file has changed."""
        stamp = self._changed()
        if self._routing is None or stamp != self._stamp:
            self._routing, self._stamp = self._read(), stamp
        return self._routing

    def _changed(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def _read(self) -> Routing:
        try:
            return read_routing(self._path)
        except ConfigurationError:
            # Half a rule book is worse than none: nothing is decided automatically, and doctor tells the lines.
            log.exception("the routing rules are wrong", extra={"event": "routing_rules_wrong"})
            return default_routing(builtin_table())
