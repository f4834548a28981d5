"""docs/clients.md, the page about the wire and the scripts of the demo page agree with the wire contract."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from roomkey.guard import contract

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text()
WIRE_PAGE = (ROOT / "docs" / "internals" / "wire-contract.md").read_text()
STATIC = ROOT / "src" / "roomkey" / "server" / "static"
SCRIPTS = "\n".join(script.read_text() for script in sorted(STATIC.glob("*.js")))

SOCKET_IO_EVENTS = {"connect", "connect_error", "disconnect"}
CHAT_EVENTS = {"message"}
TOLD_IN_THE_SERVERS_WORDS = {"claim", "malformed"}  # the page shows their message, which names the claim
REPORTED_BY_STAY = {"reauthentication_required"}  # the page asks for the password instead


def rows(heading: str, page: str = PAGE) -> Iterator[list[str]]:
    """Yield the cells of each row of the first table below a heading."""
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None
    for line in table[0].splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def quoted(cell: str) -> list[str]:
    """Return the texts in backticks."""
    return re.findall(r"`([^`]*)`", cell)


def test_page_lists_every_event_from_the_server():
    told = {}
    for event, *_ in rows("Events from the server"):
        name, keys = re.fullmatch(r"`([\w-]+) \{(.*)\}`", event).groups()
        told[name] = tuple(keys.split(", "))
    assert told == contract.EVENTS_TO_CLIENT


def test_wire_page_shows_every_event_while_connected():
    shown = {}
    for packet, _ in rows("While connected", WIRE_PAGE):
        if match := re.fullmatch(r'`42\["([\w-]+)",\{(.*)\}\]`', packet):
            shown[match[1]] = tuple(re.findall(r'(?:^|,)"(\w+)":', match[2]))
    assert shown.keys() == contract.EVENTS_TO_CLIENT.keys() - {contract.AUTHENTICATED}
    del shown[contract.UNAUTHORIZED]  # the section before it shows its argument
    assert shown == {name: contract.EVENTS_TO_CLIENT[name] for name in shown}


def test_wire_page_shows_the_events_of_authentication():
    [presents, accepts, rejects, *_] = [packets for _, packets in rows("After connecting", WIRE_PAGE)]
    packets = re.findall(r'42\["([\w-]+)",\{', " ".join((presents, accepts, rejects)))
    assert packets == [contract.AUTHENTICATE, contract.AUTHENTICATED, contract.UNAUTHORIZED]
    for key in contract.EVENTS_TO_CLIENT[contract.UNAUTHORIZED]:
        assert f'"{key}":' in rejects


def test_page_lists_every_event_from_the_client():
    told = [quoted(event)[0].split()[0] for event, *_ in rows("Events from the client")]
    assert sorted(told) == sorted(contract.EVENTS_FROM_CLIENT)


def test_page_lists_every_error_code_reason_and_message():
    told = set()
    for _, code, message, reason, other in rows("Errors"):
        [code], reasons = quoted(code), quoted(reason)
        key = (code, reasons[0] if reasons else None, "retry" in quoted(other))
        told |= {(*key, text) for text in quoted(message)}
    assert told == {(error.code, error.reason, error.retry, text) for error in contract.ERRORS for text in error.texts}


def test_code_on_the_page_uses_only_events_of_the_contract():
    assert set(re.findall(r'\.on\("([\w-]+)"', PAGE)) - SOCKET_IO_EVENTS <= contract.EVENTS_TO_CLIENT.keys()
    assert set(re.findall(r'\b(?:emit|call)\("([\w-]+)"', PAGE)) <= contract.EVENTS_FROM_CLIENT


def test_demo_page_handles_every_event_of_the_contract():
    handled = set(re.findall(r'socket\.on\("([\w-]+)"', SCRIPTS)) - SOCKET_IO_EVENTS - CHAT_EVENTS
    reported = set(re.findall(r'"([\w-]+)"', re.search(r"^const REPORTED = \[(.*)\];", SCRIPTS, re.MULTILINE)[1]))
    events = contract.EVENTS_TO_CLIENT.keys()
    assert handled == events - {contract.ERROR}  # the page always asks for an acknowledgement
    assert reported == events - {contract.AUTHENTICATED}


def test_demo_page_sends_every_event_of_the_contract():
    sent = set(re.findall(r'\b(?:emit|ask)\("([\w-]+)"', SCRIPTS))
    assert sent - CHAT_EVENTS == contract.EVENTS_FROM_CLIENT


def test_demo_page_has_a_text_for_every_reason():
    words = set(re.findall(r"^  (\w+):", re.search(r"const REASONS = \{.*?^\};", SCRIPTS, re.M | re.S)[0], re.M))
    reasons = {error.reason for error in contract.ERRORS} - {None}
    assert words == reasons - TOLD_IN_THE_SERVERS_WORDS - REPORTED_BY_STAY


def test_demo_page_knows_only_reasons_of_the_contract():
    lists = re.findall(r"^const (?:NEW_LOGIN|HARMLESS) = \[(.*)\];", SCRIPTS, re.MULTILINE)
    assert len(lists) == 2
    reasons = {error.reason for error in contract.ERRORS}
    assert set(re.findall(r'"(\w+)"', " ".join(lists))) <= reasons
