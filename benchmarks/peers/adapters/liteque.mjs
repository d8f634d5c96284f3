// Adapter for liteque. It makes the calls of liteque's own runner.
import path from "node:path";

export async function open(folder, { lease = 30 }, load) {
  const { SqliteQueue, buildDBClient } = await load("liteque");
  const db = buildDBClient(path.join(folder, "data.db"), { runMigrations: true });
  const queue = new SqliteQueue("bench", db, { defaultJobArgs: { numRetries: 2 }, keepFailedJobs: false });
  const value = (text) => Object.values(db.session.client.prepare(text).get())[0];
  return {
    facts: () => ({
      runtime: `Node ${process.version}`,
      sqlite: value("SELECT sqlite_version()"),
      journal_mode: value("PRAGMA journal_mode"),
      synchronous: value("PRAGMA synchronous"),
    }),
    add: (payload) => queue.enqueue(payload),
    claim: () => queue.attemptDequeue({ timeoutSecs: lease }),
    complete: (job) => queue.finalize(job.id, job.allocationId, "completed"),
    waiting: async () => (await queue.stats()).pending,
    close: () => db.session.client.close(),
  };
}
