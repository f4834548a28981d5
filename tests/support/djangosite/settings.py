"""The settings of a small Django project for tests. The environment names its folder."""

import os
from pathlib import Path

FOLDER = Path(os.environ["DJANGO_SITE_FOLDER"])
SECRET_KEY = "q8!w2z(5r#k1v$7u@x0y^3t&9s*6p4n+l-m=j_hgfdbacQWERT"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "roomkey.django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "roomkey.django.IdentityMiddleware",
]
ROOT_URLCONF = "support.djangosite.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "db.sqlite3",
        "CONN_MAX_AGE": None,  # an open connection stays open until somebody closes it
        "OPTIONS": {"timeout": 10},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast
AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"}]
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["roomkey.django.rest_framework.RoomKeyAuthentication"]}
SIMPLE_JWT = {
    "TOKEN_OBTAIN_SERIALIZER": "roomkey.django.simplejwt.TokenObtainPairSerializer",
    "TOKEN_REFRESH_SERIALIZER": "roomkey.django.simplejwt.TokenRefreshSerializer",
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
}
LOGGING_CONFIG = None
USE_TZ = True
ROOMKEY = {
    "ISSUER": {"issuer": "https://site.example", "audience": "chat"},
    "POLICY": "support.djangosite.rules.policy",
}
