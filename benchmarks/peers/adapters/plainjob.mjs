// Adapter for plainjob. It makes the calls of plainjob's own worker, in the worker's order.
import path from "node:path";

const TYPE = "bench";
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

export async function open(folder, { driver, lease }, load) {
  const plainjob = await load("plainjob");
  const bun = driver === "bun:sqlite";
  const Database = bun ? (await import("bun:sqlite")).Database : (await load("better-sqlite3")).default;
  const database = new Database(path.join(folder, "data.db"), ...(bun ? [{ strict: true }] : []));
  const queue = plainjob.defineQueue({
    connection: bun ? plainjob.bun(database) : plainjob.better(database),
    logger: quiet,
  });
  const value = (text) => Object.values(bun ? database.query(text).get() : database.prepare(text).get())[0];
  return {
    facts: () => ({
      runtime: bun ? `Bun ${Bun.version}` : `Node ${process.version}`,
      sqlite: value("SELECT sqlite_version()"),
      journal_mode: value("PRAGMA journal_mode"),
      synchronous: value("PRAGMA synchronous"),
    }),
    add: (payload) => queue.add(TYPE, payload),
    add_many: (payloads) => queue.addMany(TYPE, payloads),
    claim() {
      const found = queue.getAndMarkJobAsProcessing(TYPE);
      return found && queue.getJobById(found.id);
    },
    complete: (job) => queue.markJobAsDone(job.id),
    recover: (seconds) => queue.requeueTimedOutJobs(seconds * 1000),
    waiting: () => queue.countJobs({ type: TYPE, status: plainjob.JobStatus.Pending }),
    close: () => queue.close(),
  };
}
