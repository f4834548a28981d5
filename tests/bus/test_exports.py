from __future__ import annotations

import subprocess
import sys

import roomkey.bus


def test_public_names_exist():
    for name in roomkey.bus.__all__:
        assert getattr(roomkey.bus, name).__name__ == name


def test_importing_the_bus_loads_no_client_of_a_broker_and_no_database():
    script = "import sys, roomkey.bus; print(*{'redis', 'hiredis', 'sqlalchemy', 'asyncpg'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ""
