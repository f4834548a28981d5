"""Django finds the management command below this package."""
