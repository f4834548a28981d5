"""Where secrets may be sent, and which addresses belong to one client."""

from __future__ import annotations

import pytest

from roomkey.core.addresses import is_confidential, network_of


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example",
        "https://app.example:8443/back?x=1",
        "http://localhost:8000",
        "http://127.0.0.1/",
        "http://[::1]:3000/back",
        "HTTPS://app.example/",
    ],
)
def test_https_and_this_machine(url):
    assert is_confidential(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example/",
        "http://10.0.0.1/",
        "http://localhost.evil.example/",
        "http://localhost@evil.example/",
        "https://ada:secret@app.example/",
        "https://",
        "https:///back",
        "https://app.example:port/",
        "https://[::1",
        "ftp://localhost/",
        "javascript://localhost/%0aalert(1)",
        "//app.example/",
        "app.example",
        "",
    ],
)
def test_nothing_else(url):
    assert not is_confidential(url)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::"),
        ("fe80::1%eth0", "fe80::"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_network_of_names_what_one_client_has(address, network):
    assert network_of(address) == network
