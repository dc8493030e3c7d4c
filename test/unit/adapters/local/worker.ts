// One of several processes on one store. Started with a job and the store's directory; reports over the channel.

import { setTimeout as pause } from "node:timers/promises";
import { initLocalStore, openLocalStore } from "../../../../lib/adapters/local/store.ts";
import { isTidemarkError } from "../../../../lib/model/errors.ts";
import { bodyOfKey } from "./bodies.ts";

const [job, directory, name] = process.argv.slice(2);
const ROUNDS = 60;
const PART_BYTES = 3_000_000;

const jobs: Record<string, () => Promise<unknown>> = {
  /** Makes the store, as all workers do at once. */
  init: async () => (await initLocalStore(directory)).kind,

  /** Claims the same keys as all other workers; tells those it won. */
  claim: async () => {
    const store = await openLocalStore(directory);
    const won: string[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const key = `race/${round % 5}/${round}`;
      if ((await store.objects.createIfAbsent(key, Buffer.from(name))).kind === "created") won.push(key);
    }
    await store.close();
    return won;
  },

  /** Creates and deletes alone in directories that the others empty and prune at the same time. */
  churn: async () => {
    const { objects, close } = await openLocalStore(directory);
    let lost = 0;
    for (let round = 0; round < 3 * ROUNDS; round++) {
      const key = `busy/${round % 3}/deep/${name}-${round}`;
      const { kind } = await objects.createIfAbsent(key, Buffer.from(key));
      if (kind !== "created" || (await objects.head(key)).kind !== "found") lost++;
      await objects.deleteMany([key]);
    }
    await close();
    return lost;
  },

  /** Counts in one item and in one of its own, together. */
  count: async () => {
    const { checkpoints, close } = await openLocalStore(directory);
    const shared = { partition: "p", sort: "shared" };
    for (let done = 0; done < ROUNDS; ) {
      const count = Number((await checkpoints.get(shared))?.attributes.count ?? 0);
      const outcome = await checkpoints.write([
        { item: shared, when: count === 0 ? [{ kind: "absent" }] : [{ kind: "eq", attribute: "count", value: count }], set: { count: count + 1 } },
        { item: { partition: "p", sort: name }, when: [], set: { count: done + 1 } },
      ]);
      if (outcome.kind === "written") done++;
    }
    await close();
    return ROUNDS;
  },

  /** Writes objects of which each names what it must hold, one after the other, until it is killed. */
  write: async () => {
    const { objects } = await openLocalStore(directory);
    process.send?.("started");
    for (let number = 0; ; number++) {
      const key = `o/${name}/${number}`;
      await objects.createIfAbsent(key, bodyOfKey(key, PART_BYTES));
    }
  },

  /** Completes uploads, one after the other, until it is killed. */
  upload: async () => {
    const { objects } = await openLocalStore(directory);
    process.send?.("started");
    for (let number = 0; ; number++) {
      const key = `u/${name}/${number}`;
      const { uploadId } = await objects.createUpload(key);
      const body = bodyOfKey(key, 2 * PART_BYTES);
      const parts: { number: number; etag: string }[] = [];
      for (const [place, half] of [body.subarray(0, PART_BYTES), body.subarray(PART_BYTES)].entries()) {
        const stored = await objects.uploadPart({ key, uploadId, number: place + 1, body: half });
        if (stored.kind === "stored") parts.push({ number: place + 1, etag: stored.etag });
      }
      await objects.completeUpload({ key, uploadId, parts });
    }
  },

  /** Writes more than the system lets it; tells the fault. */
  overflow: async () => {
    const { objects } = await openLocalStore(directory);
    const { uploadId } = await objects.createUpload("full/u");
    const faults = [
      await faultOf(() => objects.createIfAbsent("full/o", Buffer.alloc(8_000_000))),
      await faultOf(() => objects.uploadPart({ key: "full/u", uploadId, number: 1, body: Buffer.alloc(8_000_000) })),
    ];
    return { faults, created: await objects.createIfAbsent("full/small", Buffer.alloc(10)) };
  },

  /** Tells the warnings of a process that uses the store. */
  warnings: async () => {
    const seen: string[] = [];
    process.on("warning", (warning) => seen.push(warning.message));
    const store = await openLocalStore(directory);
    process.emitWarning("another warning");
    await pause(50);
    await store.close();
    return seen;
  },
};

async function faultOf(work: () => Promise<unknown>): Promise<unknown> {
  try {
    return await work();
  } catch (error) {
    return isTidemarkError(error) ? { kind: error.kind, code: error.code, message: error.message } : String(error);
  }
}

const result = await jobs[job]();
process.send?.({ result });
process.disconnect?.();
