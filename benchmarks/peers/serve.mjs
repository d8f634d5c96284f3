// Counterpart of serve.py for adapters in JavaScript, with the same commands and answers. Arguments: the adapter, and
// the folder of the environment from which modules are loaded.
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const PAYLOAD = "x".repeat(64);
const CHUNK = 1000;
const OPTIONAL = ["add_many", "claim_many", "complete_many", "recover"];
const [adapter, environment] = process.argv.slice(2);
const require = createRequire(path.join(environment, "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { open } = await import(pathToFileURL(path.resolve(adapter)));
// Output of a peer must not mix with the answers.
console.log = console.info = console.debug = () => {};

let peer, held;
const clock = () => performance.now() / 1000;
const took = (done, began) => ({ done, seconds: clock() - began });
const present = (held) => {
  if (!held || held.length === 0) throw new Error("there was no task left to claim");
  return held;
};
async function until(most, seconds, step) {
  const began = clock(), end = began + seconds;
  let done = 0;
  while (done < most && clock() < end) done += await step();
  return took(done, began);
}

const commands = {
  async open({ folder, options }) {
    peer = await open(folder, options, load);
    return { facts: peer.facts(), can: OPTIONAL.filter((name) => name in peer) };
  },
  add: ({ most, seconds }) => until(most, seconds, async () => { await peer.add(PAYLOAD); return 1; }),
  add_many: ({ most, seconds, size }) =>
    until(most, seconds, async () => { await peer.add_many(Array(size).fill(PAYLOAD)); return size; }),
  async fill({ count }) {
    const began = clock();
    for (let start = 0; start < count; start += CHUNK) {
      const size = Math.min(CHUNK, count - start);
      if (peer.add_many) await peer.add_many(Array(size).fill(PAYLOAD));
      else for (let i = 0; i < size; i++) await peer.add(PAYLOAD);
    }
    return took(count, began);
  },
  cycle: ({ most, seconds }) =>
    until(most, seconds, async () => { await peer.complete(present(await peer.claim())); return 1; }),
  async crowd({ seconds }) {
    const errors = [], waits_us = [], began = clock(), end = began + seconds;
    let done = 0, since = began;
    while (clock() < end) {
      try {
        const held = await peer.claim();
        if (!held) continue;
        waits_us.push(Math.round((clock() - since) * 1e6));
        await peer.complete(held);
        done++;
      } catch (error) {
        errors.push(String(error));
      }
      since = clock();
    }
    waits_us.push(Math.round((clock() - since) * 1e6));
    return { ...took(done, began), waits_us, errors };
  },
  async claim() {
    held = await peer.claim();
    return { got: Boolean(held) };
  },
  async complete() {
    try {
      return { refused: (await peer.complete(held)) === false };
    } catch (error) {
      return { refused: true, by: String(error) };
    }
  },
  async recover({ seconds }) {
    await peer.recover(seconds);
    return {};
  },
  waiting: async () => ({ waiting: await peer.waiting() }),
  async close() {
    await peer.close();
    return {};
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let answer;
  try {
    answer = await commands[asked.do](asked);
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
process.exit(0);
