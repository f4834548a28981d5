"""A Django project in one file: a login page, a guarded chat, and a logout that disconnects it."""

import os
import sys
from pathlib import Path

import socketio
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.shortcuts import render
from django.urls import path

CONTRIB = "django.contrib"
settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    LOGIN_URL="/login/",
    LOGIN_REDIRECT_URL="/",
    LOGOUT_REDIRECT_URL="/login/",
    INSTALLED_APPS=[f"{CONTRIB}.auth", f"{CONTRIB}.contenttypes", f"{CONTRIB}.sessions", "roomkey.django"],
    MIDDLEWARE=[
        f"{CONTRIB}.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        f"{CONTRIB}.auth.middleware.AuthenticationMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [Path(__file__).parent]}],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "project.sqlite3"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    ROOMKEY={"ISSUER": {"audience": "chat", "expires_in": 300}, "REVOCATIONS": "revocations.sqlite3"},
)
django_application = get_asgi_application()

from django.contrib.auth.decorators import login_required  # noqa: E402 - the models are loaded now
from django.contrib.auth.views import LoginView, LogoutView  # noqa: E402

from roomkey.django import AsyncGuard, session_token  # noqa: E402

sio = socketio.AsyncServer(async_mode="asgi")
guard = AsyncGuard()
guard.attach(sio)


@sio.event
async def message(sid, text):
    await sio.emit("message", {"from": guard.identity(sid).subject, "text": text})


@login_required
def chat(request):
    return render(request, "chat.html")


urlpatterns = [
    path("", chat),
    path("login/", LoginView.as_view(template_name="login.html")),
    path("logout/", LogoutView.as_view()),
    path("token/", session_token),
]
application = socketio.ASGIApp(sio, django_application)

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
