"""Logging in at an OpenID provider (OpenID Connect Core 1.0), and its back-channel logout (internal).

- ``config``: a provider, and this server's registration there.
- ``attempts``: logins that are under way, in cookies.
- ``client``: requests to the provider.
- ``tokens``: the checks of ID tokens and logout tokens.
- ``accounts``: from the provider's user to the account.
- ``logins``: the steps of a login, and the logout, without routes.
- ``routes``: the routes.
"""
