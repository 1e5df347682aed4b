// What every peer on Node is asked; the commands are described in measure.py, which does the same for Python.
//
// A peer is an object: `bulk` ({jobs a call, clients}), `submitMany(payloads)`, `submit(payload)`, `left()` (jobs that
// are not yet done in the database), `start(ran)` (works until the function that it gives is called; calls `ran` once a
// job and ends when that answers true), `close()`.
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const payload = { pad: "x".repeat(290) }; // 300 bytes of JSON
const seconds = (since) => (performance.now() - since) / 1e3;
const times = (count, make) => Promise.all(Array.from({ length: count }, make));

async function bulk(peer, jobs, limit) {
  const started = performance.now();
  let left = jobs;
  await times(peer.bulk.clients, async () => {
    while (left > 0 && seconds(started) < limit) {
      const batch = Math.min(left, peer.bulk.jobs);
      left -= batch;
      await peer.submitMany(Array(batch).fill(payload));
    }
  });
  return { jobs: jobs - left, seconds: seconds(started) };
}

async function single(peer, clients, limit) {
  const started = performance.now();
  let jobs = 0;
  await times(clients, async () => {
    for (; seconds(started) < limit; jobs++) await peer.submit(payload);
  });
  return { jobs, seconds: seconds(started) };
}

async function work(peer, limit) {
  const queued = await peer.left();
  const started = performance.now();
  let count = 0;
  const all = new Promise((resolve) => {
    peer.stop = peer.start(() => {
      count += 1;
      const over = count >= queued || (count % 64 === 0 && seconds(started) > limit);
      if (over) resolve();
      return over;
    });
  });
  await Promise.race([all, sleep(limit * 1e3, undefined, { ref: false })]);
  for (;;) {
    const asked = seconds(started);
    const left = await peer.left();
    if (left === 0 || asked >= limit) {
      await (await peer.stop)();
      return { done: queued - left, queued, seconds: asked };
    }
    await sleep(1);
  }
}

async function pickup(peer, samples, limit) {
  let ran;
  const stop = await peer.start(() => ran(performance.now()));
  await sleep(500); // its connections are up, its queue is empty
  const latencies = [];
  const started = performance.now();
  while (latencies.length < samples && seconds(started) < limit) {
    const picked = new Promise((resolve) => {
      ran = (at) => void resolve(at);
    });
    const asked = performance.now();
    await peer.submit(payload);
    latencies.push((await picked) - asked);
    await sleep(4);
  }
  await stop();
  return { latencies };
}

export async function serve(open) {
  const peer = await open(process.argv[2]);
  const commands = { bulk, single, work, pickup };
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, ...numbers] = line.split(" ");
    console.log(JSON.stringify(await commands[command](peer, ...numbers.map(Number))));
  }
  await peer.close();
  process.exit(0);
}
