"""The server of docs/oauth.md gives tokens."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

PAGE = Path(__file__).parents[2] / "docs" / "oauth.md"
SECRET = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"


async def test_the_server_of_the_page_gives_tokens(monkeypatch, tmp_path):
    monkeypatch.setenv("ROOMKEY_SECRET", SECRET)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    exec(re.search(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1], names)
    app = names["app"]
    base = "http://localhost:8000"
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as http,
    ):
        answer = await http.post("/oauth/token", auth=("reports", SECRET), data={"grant_type": "client_credentials"})
        assert answer.status_code == 200, answer.text
        assert (await names["logins"].live.verify(answer.json()["access_token"])).rooms == ("reports",)
        told = (await http.get("/.well-known/oauth-authorization-server")).json()
        asked = {
            "response_type": "code",
            "client_id": "app",
            "redirect_uri": "https://app.example/back",
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method": "S256",
        }
        page = await http.get(told["authorization_endpoint"], params=asked)
        assert "The App" in page.text
