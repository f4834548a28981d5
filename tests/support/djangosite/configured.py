"""Django with the settings of the project, in this process: they belong to the process, so all tests share them."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile


def configure() -> None:
    """Configure Django, if that has not happened yet."""
    import django
    from django.conf import settings

    if settings.configured:
        return
    folder = tempfile.mkdtemp(prefix="roomkey-django-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["DJANGO_SITE_FOLDER"] = folder
    os.environ["DJANGO_SETTINGS_MODULE"] = "support.djangosite.settings"
    django.setup()
