"""Products and orders of them."""

from __future__ import annotations

from django.db import models


class Product(models.Model):
    """Something that can be ordered."""

    title = models.TextField()

    def __str__(self) -> str:
        """Its title."""
        return self.title


class Order(models.Model):
    """Some of a product, wanted by somebody."""

    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    quantity = models.PositiveIntegerField()

    def __str__(self) -> str:
        """How many of what."""
        return f"{self.quantity} of {self.product}"
