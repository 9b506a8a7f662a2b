"""Reads the part of YAML that docker-compose.yml uses: the product depends on no YAML library.

Indented mappings and lists, flow lists and mappings, block scalars, quotes, comments, anchors, aliases and merges. Anything
else is refused loudly, so that a test never judges a file it has misread.
"""

import json
import re
import textwrap
from pathlib import Path

Node = str | None | list["Node"] | dict[str, "Node"]

KEY = re.compile(r"([\w<./-]+):(?:\s+(.*))?$")
ANCHOR = re.compile(r"&(\w+)\s*(.*)$")
FLOW_TOKEN = re.compile(
    r'\s*("(?:[^"\\]|\\.)*"|[\[\]{},:](?=\s|$|[\]}"\[{&*\w])|\$\{[^}]*\}[^,\]}]*|[^\s,\[\]{}"][^,\[\]{}"]*)'
)


def read_compose(path: Path) -> dict[str, Node]:
    return Reader(path.read_text(encoding="utf-8")).document()


class Reader:
    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.at = 0
        self.anchors: dict[str, Node] = {}

    def document(self) -> dict[str, Node]:
        node = self.block(0)
        assert isinstance(node, dict)
        assert self.at == len(self.lines), f"line {self.at + 1} was not understood"
        return node

    def peek(self) -> tuple[int, str] | None:
        while self.at < len(self.lines) and (not self.lines[self.at].strip() or self.lines[self.at].lstrip()[0] == "#"):
            self.at += 1
        if self.at == len(self.lines):
            return None
        line = self.lines[self.at]
        return len(line) - len(line.lstrip()), line.strip()

    def block(self, indent: int) -> Node:
        head = self.peek()
        if head is None or head[0] < indent:
            return None
        return self.sequence(head[0]) if head[1].startswith("- ") else self.mapping(head[0])

    def sequence(self, indent: int) -> list[Node]:
        items: list[Node] = []
        while (head := self.peek()) and head[0] == indent and head[1].startswith("- "):
            self.at += 1
            items.append(self.value(head[1][2:], indent))
        return items

    def mapping(self, indent: int, into: dict[str, Node] | None = None) -> dict[str, Node]:
        own: dict[str, Node] = {} if into is None else into
        merged: dict[str, Node] = {}
        while (head := self.peek()) and head[0] == indent:
            found = KEY.match(head[1])
            assert found, f"line {self.at + 1}: {head[1]}"
            self.at += 1
            key, rest = found[1], found[2] or ""
            if key == "<<":
                for source in self.merge_sources(rest):
                    merged = {**source, **merged}
                continue
            assert key not in own, f"line {self.at}: {key} twice"
            own[key] = self.value(rest, indent)
        for key, node in merged.items():
            own.setdefault(key, node)
        return own

    def merge_sources(self, rest: str) -> list[dict[str, Node]]:
        found = [self.anchors[name] for name in re.findall(r"\*(\w+)", rest)]
        assert found, rest
        return [node for node in found if isinstance(node, dict)]

    def value(self, rest: str, indent: int) -> Node:
        anchored = ANCHOR.match(rest)
        if anchored:
            self.anchors[anchored[1]] = node = self.value(anchored[2], indent)
            return node
        if rest in {"", "#"}:
            return self.block(indent + 1)
        if rest == "|":
            return self.scalar_block(indent)
        if rest[0] in "[{":
            return self.flow(rest)
        return self.plain(rest)

    def scalar_block(self, indent: int) -> str:
        start = self.at
        while self.at < len(self.lines) and (
            not self.lines[self.at].strip() or len(self.lines[self.at]) - len(self.lines[self.at].lstrip()) > indent
        ):
            self.at += 1
        return textwrap.dedent("\n".join(self.lines[start : self.at])) + "\n"

    def flow(self, rest: str) -> Node:
        while rest.count("[") > rest.count("]") or rest.count("{") > rest.count("}"):
            rest += " " + self.lines[self.at].strip()
            self.at += 1
        tokens = FLOW_TOKEN.findall(rest)
        node = self.flow_node(tokens)
        assert not tokens, rest
        return node

    def flow_node(self, tokens: list[str]) -> Node:
        token = tokens.pop(0).strip()
        if token == "[":
            return self.flow_list(tokens)
        if token == "{":
            return self.flow_mapping(tokens)
        return self.plain(token)

    def flow_list(self, tokens: list[str]) -> list[Node]:
        items: list[Node] = []
        while tokens[0] != "]":
            items.append(self.flow_node(tokens))
            if tokens[0] == ",":
                tokens.pop(0)
        tokens.pop(0)
        return items

    def flow_mapping(self, tokens: list[str]) -> dict[str, Node]:
        items: dict[str, Node] = {}
        while tokens[0] != "}":
            if tokens[0] == ",":
                tokens.pop(0)
                continue
            key, colon, rest = tokens.pop(0).strip().partition(":")
            assert colon or tokens[0] == ":", key
            if not colon:
                tokens.pop(0)
            items[key.strip()] = self.plain(rest.strip()) if rest.strip() else self.flow_node(tokens)
        tokens.pop(0)
        return items

    def plain(self, text: str) -> Node:
        if text.startswith('"'):
            loaded = json.loads(text)
            assert isinstance(loaded, str)
            return loaded
        if text.startswith("*"):
            return self.anchors[text[1:]]
        return text
