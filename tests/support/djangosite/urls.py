"""The views of the project."""

from django.contrib.auth import authenticate, login, logout
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.response import Response
from rest_framework_simplejwt.views import TokenBlacklistView, TokenObtainPairView, TokenRefreshView

from roomkey.django import requires, session_token
from roomkey.django import rest_framework as drf


def who(request):
    return JsonResponse({"subject": request.identity.subject, "guest": request.identity.is_guest})


async def async_who(request):
    return who(request)


@requires(role="editor")
def edit(request):
    return JsonResponse({"subject": request.identity.subject})


@requires(role="editor")
async def async_edit(request):
    return JsonResponse({"subject": request.identity.subject})


@requires(max_auth_age=60)
def pay(request):
    return JsonResponse({"subject": request.identity.subject})


@csrf_exempt
def log_in(request):
    user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
    login(request, user)
    return JsonResponse({})


@csrf_exempt
def log_out(request):
    logout(request)
    return JsonResponse({})


@api_view()
@permission_classes([IsAuthenticated])
def api(request):
    return Response({"user": request.user.get_username(), "subject": request.auth.subject})


@api_view()
@permission_classes([AllowAny])
def api_open(request):
    return Response({"user": request.user.get_username()})


@api_view()
@permission_classes([drf.requires(role="editor", max_auth_age=60)])
def api_edit(request):
    return Response({})


urlpatterns = [
    path("who/", who),
    path("async-who/", async_who),
    path("edit/", edit),
    path("async-edit/", async_edit),
    path("pay/", pay),
    path("login/", log_in),
    path("logout/", log_out),
    path("token/", session_token),
    path("api/", api),
    path("api/open/", api_open),
    path("api/edit/", api_edit),
    path("jwt/", TokenObtainPairView.as_view()),
    path("jwt/refresh/", TokenRefreshView.as_view()),
    path("jwt/blacklist/", TokenBlacklistView.as_view()),
]
