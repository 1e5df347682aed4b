"""huey, on SQLite.

Settings: huey.readthedocs.io, "SqliteHuey": `fsync=True` and the default WAL; "Consumer": one worker thread, the storage
serialises its statements anyway; the poll of an idle worker is 1 ms (`initial_delay`, `max_delay`) instead of 100 ms to
10 s. It has no bulk submit: `map` enqueues each job in a transaction of its own. It deletes a job when it takes it, before
the run, and keeps no record of success: no fence, no history, and a kill loses the job that runs.
"""

import asyncio

from huey import SqliteHuey
from measure import serve


class Peer:
    bulk = (100, 1)

    def __init__(self, path):
        self.huey = SqliteHuey("peers", filename=path, fsync=True, timeout=30)
        self.ran = None
        self.noop = self.huey.task(name="noop")(lambda _payload: self.ran())

    async def submit_many(self, payloads):
        self.noop.map(payloads)
        await asyncio.sleep(0)

    async def submit(self, payload):
        # it blocks: with one connection and its lock, threads would only take turns
        self.noop(payload)
        await asyncio.sleep(0)

    async def left(self):
        return self.huey.pending_count()

    async def start(self, ran):
        self.ran = ran
        consumer = self.huey.create_consumer(
            workers=1, periodic=False, initial_delay=0.001, max_delay=0.001, backoff=1.0, check_worker_health=False
        )
        consumer.start()

        async def stop():
            await asyncio.to_thread(consumer.stop, graceful=True)

        return stop

    async def close(self):
        self.huey.storage.close()


async def opened(path):
    return Peer(path)


asyncio.run(serve(opened))
