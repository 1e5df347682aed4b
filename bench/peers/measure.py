"""What every peer in Python is asked, and the protocol of all peers.

A peer's program is started with the URL of a database. It reads commands on standard input, one a line, and answers each
with one line of JSON; seconds are counted around the call, not around the program:

    bulk JOBS LIMIT        submits so many jobs, or fewer when LIMIT seconds are over; {"jobs", "seconds"}
    work LIMIT             runs what is queued until the database says that all is done, or LIMIT seconds are over;
                           {"done", "queued", "seconds"}
    single CLIENTS SECONDS each client submits one job after the other; {"jobs", "seconds"}
    pickup SAMPLES LIMIT   on an idle worker, from the call of a submit to the run of its job; {"latencies"} in ms

A peer is an object with `bulk` (jobs a call, clients), `submit_many`, `submit`, `left` (jobs not yet done in the
database), `start(ran)` (works until the coroutine function that it gives is called; calls `ran` once a job), `close`.
"""

import asyncio
import json
import sys
import time

PAYLOAD = json.dumps({"pad": "x" * 289})  # 300 bytes


async def bulk(peer, jobs, limit):
    started, left = time.perf_counter(), jobs

    async def client():
        nonlocal left
        while left > 0 and time.perf_counter() - started < limit:
            batch = min(left, peer.bulk[0])
            left -= batch
            await peer.submit_many([PAYLOAD] * batch)

    await asyncio.gather(*(client() for _ in range(peer.bulk[1])))
    return {"jobs": jobs - left, "seconds": time.perf_counter() - started}


async def single(peer, clients, limit):
    started, jobs = time.perf_counter(), 0

    async def client():
        nonlocal jobs
        while time.perf_counter() - started < limit:
            await peer.submit(PAYLOAD)
            jobs += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    return {"jobs": jobs, "seconds": time.perf_counter() - started}


async def work(peer, limit):
    queued, count = await peer.left(), 0
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def ran():
        nonlocal count
        count += 1
        if count == queued:
            loop.call_soon_threadsafe(done.set)

    started = time.perf_counter()
    stop = await peer.start(ran)
    try:
        await asyncio.wait_for(done.wait(), limit)
    except TimeoutError:
        pass
    while True:
        asked = time.perf_counter() - started
        left = await peer.left()
        if left == 0 or asked >= limit:
            break
        await asyncio.sleep(0.001)
    await stop()
    return {"done": queued - left, "queued": queued, "seconds": asked}


async def pickup(peer, samples, limit):
    loop, picked = asyncio.get_running_loop(), asyncio.Queue()

    def ran():
        at = time.perf_counter()
        loop.call_soon_threadsafe(picked.put_nowait, at)

    stop = await peer.start(ran)
    await asyncio.sleep(0.5)  # its connections are up, its queue is empty
    latencies, started = [], time.perf_counter()
    while len(latencies) < samples and time.perf_counter() - started < limit:
        asked = time.perf_counter()
        await peer.submit(PAYLOAD)
        latencies.append((await picked.get() - asked) * 1e3)
        await asyncio.sleep(0.004)
    await stop()
    return {"latencies": latencies}


async def serve(opened):
    commands = {"bulk": bulk, "single": single, "work": work, "pickup": pickup}
    peer = await opened(sys.argv[1])
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, *numbers = line.split()
        print(json.dumps(await commands[command](peer, *map(int, numbers))), flush=True)
    await peer.close()
