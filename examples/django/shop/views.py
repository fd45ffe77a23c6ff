"""Orders, and whether the shop is well."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from django.db import IntegrityError, connection, transaction
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

import pulsebase
from pulsebase import HealthCheckModel
from shop.models import Order

if TYPE_CHECKING:
    from django.http import HttpRequest


@csrf_exempt
@require_POST
def create_order(request: HttpRequest) -> JsonResponse:
    """Store an order and its check in one transaction."""
    began = time.monotonic()
    wanted = json.loads(request.body)
    try:
        with transaction.atomic():
            order = Order.objects.create(
                product_id=wanted["product_id"], quantity=wanted["quantity"]
            )
            HealthCheckModel.create(
                pulsebase.using(connection),
                service_name="orders",
                status="healthy",
                latency_ms=round((time.monotonic() - began) * 1000),
            )
    # Django's foreign keys are looked at when the transaction ends, so after the check was written.
    except IntegrityError:
        return JsonResponse({"detail": "there is no such product"}, status=409)
    return JsonResponse({"id": order.pk}, status=201)


@require_GET
def health(_request: HttpRequest) -> JsonResponse:
    """Answer when the database does."""
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return JsonResponse({"ok": True})
