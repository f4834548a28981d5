"""HTTP for the hub: requests and their origin, the ASGI application, and the server that listens."""
