"""pgqueuer, on PostgreSQL through asyncpg, the faster of its drivers ("Benchmarks" of its documentation).

Settings: "Performance Tuning" of its documentation: a large `batch_size` for short jobs, a single connection for the
QueueManager and a pool for producers, its recommended autovacuum settings, the durability level `durable`. uvloop.
"""

import asyncio

import asyncpg
import uvloop
from measure import serve
from pgqueuer.core.qm import QueueManager
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries


class Peer:
    bulk = (2_000, 2)

    def __init__(self, url, pool):
        self.url, self.pool = url, pool
        self.queries = Queries(AsyncpgPoolDriver(pool))

    async def submit_many(self, payloads):
        count = len(payloads)
        await self.queries.enqueue(["noop"] * count, [payload.encode() for payload in payloads], [0] * count)

    async def submit(self, payload):
        await self.queries.enqueue("noop", payload.encode())

    async def left(self):
        # it deletes the jobs that are done
        return await self.pool.fetchval("SELECT count(*) FROM pgqueuer")

    async def start(self, ran):
        connection = await asyncpg.connect(self.url)
        manager = QueueManager(Queries(AsyncpgDriver(connection)))

        @manager.entrypoint("noop")
        async def noop(job):
            ran()

        running = asyncio.create_task(manager.run(batch_size=1_000))

        async def stop():
            manager.shutdown.set()
            await running
            await connection.close()

        return stop

    async def close(self):
        await self.pool.close()


async def opened(url):
    pool = await asyncpg.create_pool(url, min_size=16, max_size=16)
    peer = Peer(url, pool)
    if not await peer.queries.has_table("pgqueuer"):
        await peer.queries.install()
        await peer.queries.optimize_autovacuum()
    return peer


uvloop.run(serve(opened))
