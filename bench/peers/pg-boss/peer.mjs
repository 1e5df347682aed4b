// pg-boss, on PostgreSQL.
//
// Settings: pgboss.io/api/workers, the options of `work()`: jobs in batches (`batchSize`), several workers in the
// process (`localConcurrency`), `burstWhenBatchFull` so that full batches follow each other without a pause, and NOTIFY
// (`useListenNotify`, the queue's `notify`) so that an idle worker does not wait for its poll. `insert()` for bulk.
import pg from "pg";
import { PgBoss } from "pg-boss";
import { serve } from "../measure.mjs";

const queue = "noop";

await serve(async (connectionString) => {
  const boss = new PgBoss({ connectionString, max: 16, useListenNotify: true, schedule: false });
  boss.on("error", (error) => console.error(error));
  await boss.start();
  await boss.createQueue(queue, { notify: true });
  const pool = new pg.Pool({ connectionString, max: 1 });
  return {
    bulk: { jobs: 1000, clients: 4 },
    submitMany: (payloads) => boss.insert(queue, payloads.map((data) => ({ data }))),
    submit: (data) => boss.send(queue, data),
    async left() {
      const { rows } = await pool.query("SELECT count(*)::int AS n FROM pgboss.job WHERE name = $1 AND state <> 'completed'", [queue]);
      return rows[0].n;
    },
    async start(ran) {
      const options = { batchSize: 1000, localConcurrency: 2, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
      await boss.work(queue, options, async (jobs) => jobs.forEach(() => ran()));
      return () => boss.offWork(queue);
    },
    async close() {
      await pool.end();
      await boss.stop({ graceful: false });
    },
  };
});
