"""URLs that secrets can be sent to."""

from __future__ import annotations

import pytest

from roomkey.core.urls import is_confidential


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
def test_is_confidential_accepts_https_and_this_machine(url):
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
def test_is_confidential_rejects_other_urls(url):
    assert not is_confidential(url)
