"""The product behind ``roomkey serve``: settings, the application, its page."""
