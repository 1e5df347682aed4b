// graphile-worker, on PostgreSQL.
//
// Settings: worker.graphile.org/docs/performance, "Quick stats": concurrentJobs 24, maxPoolSize 25, localQueue of 500,
// completeJobBatchDelay and failJobBatchDelay 0. Jobs in bulk go through `addJobs`, as in its own performance test.
// For pickup the same; a local queue does not delay the first job of an idle worker.
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";
import { serve } from "../measure.mjs";

const logger = new Logger(() => () => {});

await serve(async (connectionString) => {
  const pool = new pg.Pool({ connectionString, max: 16 });
  const utils = await makeWorkerUtils({ pgPool: pool, logger });
  await utils.migrate();
  return {
    bulk: { jobs: 5000, clients: 2 },
    submitMany: (payloads) => utils.addJobs(payloads.map((payload) => ({ identifier: "noop", payload }))),
    submit: (payload) => utils.addJob("noop", payload),
    async left() {
      // it deletes the jobs that are done
      const { rows } = await pool.query("SELECT count(*)::int AS n FROM graphile_worker._private_jobs");
      return rows[0].n;
    },
    async start(ran) {
      const preset = {
        worker: {
          connectionString,
          concurrentJobs: 24,
          maxPoolSize: 25,
          localQueue: { size: 500 },
          completeJobBatchDelay: 0,
          failJobBatchDelay: 0,
        },
      };
      const runner = await run({ preset, logger, noHandleSignals: true, taskList: { noop: () => void ran() } });
      return () => runner.stop();
    },
    async close() {
      await utils.release();
      await pool.end();
    },
  };
});
