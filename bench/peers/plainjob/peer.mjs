// plainjob, on SQLite through better-sqlite3.
//
// Settings: its README: `addMany` for bulk; one worker in the process. It asks for `synchronous = NORMAL`, which loses
// the newest commits with the power; here it is FULL, as in every database. The poll of an idle worker is 1 ms
// (`pollIntervall`) instead of its default, a second. Its calls are synchronous: clients in one process take turns.
import Database from "better-sqlite3";
import { better, defineQueue, defineWorker } from "plainjob";
import { serve } from "../measure.mjs";

const silent = () => {};
const logger = { debug: silent, info: silent, warn: silent, error: console.error };

await serve(async (path) => {
  const database = new Database(path);
  const queue = defineQueue({ connection: better(database), logger });
  database.pragma("synchronous = FULL");
  return {
    bulk: { jobs: 5000, clients: 1 },
    submitMany: async (payloads) => queue.addMany("noop", payloads),
    submit: async (payload) => queue.add("noop", payload),
    left: async () => queue.countJobs() - queue.countJobs({ status: 2 }), // 2: done
    async start(ran) {
      const onCompleted = () => ran() && worker.stop();
      const worker = defineWorker("noop", async () => {}, { queue, logger, pollIntervall: 1, onCompleted });
      const ended = worker.start();
      return async () => {
        await worker.stop();
        await ended;
      };
    },
    close: async () => queue.close(),
  };
});
