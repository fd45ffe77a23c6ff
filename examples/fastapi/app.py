"""A shop whose orders, and the checks that describe them, are stored together or not at all."""  # noqa: INP001 -- a program of its own, not part of a package

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import psycopg
from fastapi import Depends, FastAPI, HTTPException, Request
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, Field

from pulsebase import HealthCheckModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# The foreign key is looked at when the transaction ends, so an order of something that does not
# exist fails at its very last step, after its check was written.
SCHEMA = """
create table if not exists products (id integer primary key, title text not null);
create table if not exists orders (
    id bigint generated always as identity primary key,
    product_id integer not null references products deferrable initially deferred,
    quantity integer not null
);
insert into products values (1, 'a lamp'), (2, 'a chair') on conflict do nothing;
"""


class Order(BaseModel):
    """What somebody orders."""

    product_id: int
    quantity: int = Field(gt=0, le=1000)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep connections open while the application runs."""
    async with AsyncConnectionPool(os.environ["DATABASE_URL"], open=False) as pool:
        async with pool.connection() as connection:
            await connection.execute(SCHEMA)
        app.state.pool = pool
        yield


async def connected(request: Request) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Give a request a connection of the pool."""
    async with request.app.state.pool.connection() as connection:
        yield connection


Connected = Annotated[psycopg.AsyncConnection[Any], Depends(connected)]
app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def create_order(order: Order, connection: Connected) -> dict[str, int]:
    """Store an order and its check in one transaction."""
    began = time.monotonic()
    try:
        async with connection.transaction():
            cursor = await connection.execute(
                "insert into orders (product_id, quantity) values (%s, %s) returning id",
                (order.product_id, order.quantity),
            )
            row = await cursor.fetchone()
            await HealthCheckModel.create(
                connection,
                service_name="orders",
                status="healthy",
                latency_ms=round((time.monotonic() - began) * 1000),
            )
    except psycopg.errors.ForeignKeyViolation as error:
        raise HTTPException(409, "there is no such product") from error
    return {"id": row[0] if row else 0}


@app.get("/health")
async def health(connection: Connected) -> dict[str, bool]:
    """Answer when the database does."""
    await connection.execute("select 1")
    return {"ok": True}
