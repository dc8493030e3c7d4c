// Each promise by its number and name. test/promises/mutants.ts lists the code that keeps each of them, and prove.ts shows
// that these tests fail where it is broken.

import { describe, expect, test } from "vitest";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { commitCheckpoint, type ControlState } from "../../lib/checkpoint/transitions.ts";
import type { Checkpoint } from "../../lib/model/control.ts";
import { toEpoch, toIndex, ORIGIN } from "../../lib/model/position.ts";
import { POLICY_DEFAULTS } from "../../lib/model/table.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { batch, captureOf, freeFirstFile, ID, isCommit, isPut, isWriteOf, put, type Scene, scene, stalledWriter } from "./scene.ts";

describe("I1 Durable", () => {
  test("I1 Durable: a batch is acknowledged only once it is stored", async () => {
    const of = await scene();
    const w = await stalledWriter(of, "W", batch({ a: 1 }, "p"));
    w.appended.catch(() => undefined);

    for (let attempt = 0; attempt < 3; attempt++) await of.stage.play(await of.stage.until(w.process, isPut), "failed");

    await expect(of.stage.finish(w.process, w.appended)).rejects.toMatchObject({ kind: "retry" });
    expect(await of.read()).toMatchObject({ index: 0, values: {} });
  });

  test("I1 Durable: what was acknowledged outlives captures, cleanups and the death of everybody", async () => {
    const of = await scene();
    const w0 = await freeFirstFile(of);
    await of.append(w0, batch({ c: 3 }, "p0", 3));
    const C = of.process("C");
    captureOf(C.world).catch(() => undefined);
    await of.stage.until(C, isCommit);
    for (const process of [...of.stage.processes]) of.stage.kill(process);

    expect(await of.read()).toMatchObject({ index: 3, values: { a: 1, b: 2, c: 3 } });
    of.leasesLapse();
    expect(await of.capture()).toMatchObject({ kind: "completed", index: 3 });
    await of.clean();
    expect(await of.read()).toMatchObject({ index: 3, from: 3, values: { a: 1, b: 2, c: 3 } });
  });
});

describe("I2 One owner per index", () => {
  test("I2 One owner per index: of two writers that claim a name, the loser appends behind the winner", async () => {
    const of = await scene();
    const [w1, w2] = [await stalledWriter(of, "W1", batch({ a: 1 })), await stalledWriter(of, "W2", batch({ b: 2 }))];

    await of.stage.play(w1.step);
    expect(await of.stage.finish(w2.process, w2.appended)).toMatchObject({ kind: "appended", first: 2, last: 2 });
    expect(await of.stage.finish(w1.process, w1.appended)).toMatchObject({ kind: "appended", first: 1, last: 1 });
    expect(await of.read()).toMatchObject({ index: 2, values: { a: 1, b: 2 } });
  });
});

describe("I3 Exactly once", () => {
  test("I3 Exactly once: a batch that is sent again through another writer applies once", async () => {
    const of = await scene();
    const [one, two] = [batch({ n: 1 }, "p", 1), batch({ n: 2 }, "p", 2)];
    const w1 = await stalledWriter(of, "W1", one);
    await of.stage.play(w1.step, "lost");
    of.stage.kill(w1.process);
    const w2 = of.writer("W2");

    expect(await of.append(w2, one)).toMatchObject({ kind: "appended" });
    expect(await of.append(w2, two)).toMatchObject({ kind: "appended" });
    expect(await of.append(w2, one)).toMatchObject({ kind: "appended" });

    expect(await of.read()).toMatchObject({ index: 4, values: { n: 2 } });
    expect(of.promises.log.applied("p", 1n)).toBe(1);
  });

  test("I3 Exactly once: a snapshot remembers what its producers sent last", async () => {
    const of = await scene();
    const w = of.writer("W");
    await of.append(w, batch({ n: 1 }, "p", 1));
    await of.append(w, batch({ n: 2 }, "p", 2));
    await of.capture();
    await of.append(w, batch({ n: 1 }, "p", 1));

    expect(await of.read()).toMatchObject({ index: 3, from: 2, values: { n: 2 } });
  });
});

describe("I4 Forward only", () => {
  test("I4 Forward only: the checkpoint moves by the newest epoch's holder alone", async () => {
    const of = await scene();
    await freeFirstFile(of);
    await of.append(of.writer("W"), batch({ c: 3 }));
    const C = of.process("C");
    const captured = captureOf(C.world);
    await of.stage.until(C, isCommit);
    of.leasesLapse();
    const other = of.process("other");
    captureOf(other.world).catch(() => undefined);
    await of.stage.until(other, ({ method }) => method === "query");

    expect(await of.stage.finish(C, captured)).toEqual({ kind: "outOfDate" });
    expect(of.promises.control?.checkpoint?.index).toBe(2);
  });

  test("I4 Forward only: a commit is refused to an older epoch, and where the index does not grow", () => {
    const at = (index: number): Checkpoint => ({
      index: toIndex(index),
      position: { redoFile: toIndex(1), batchOffset: 0 },
      border: ORIGIN,
      key: `${index}`,
      size: 1,
      footerSha256: "",
      footerBytes: 512,
    });
    const control = { stamp: "s", incarnation: "i", epoch: toEpoch(2), lowWater: toIndex(1), checkpoint: at(5) };
    const commit = (epoch: number, index: number) => commitCheckpoint(control, { incarnation: "i", epoch: toEpoch(epoch) }, at(index)).kind;

    expect([commit(2, 6), commit(1, 6), commit(2, 5), commit(2, 4)]).toEqual(["to", "lost", "lost", "lost"]);
    const moved = commitCheckpoint(control, { incarnation: "i", epoch: toEpoch(2) }, at(6)) as { readonly control: ControlState };
    expect(moved.control.checkpoint?.index).toBe(6);
  });
});

describe("I5 A snapshot equals the replay", () => {
  test("I5 A snapshot equals the replay: puts, deletes and patches, in one capture or in several", async () => {
    const of = await scene();
    const w = of.writer("W");
    const patch = (key: string, value: unknown) => ({ ...put(key, value), kind: "patch" }) as const;
    await of.append(w, { mutations: [put("a", { x: 1, y: 2 }), put("b", 1), put("c", 1)] });
    await of.capture();
    await of.append(w, { mutations: [patch("a", { x: null, z: 3 }), { kind: "delete", key: Buffer.from("b") }, patch("d", { q: 1 })] });
    await of.append(w, { mutations: [patch("a", { y: { deep: 1 } }), put("c", 2)] });
    await of.capture();

    const values = { a: { y: { deep: 1 }, z: 3 }, c: 2, d: { q: 1 } };
    expect(of.promises.met.commits).toBe(2);
    expect(await of.read()).toEqual({ index: 8, from: 8, values, passedOver: [] });
  });

  test("I5 A snapshot equals the replay: a recovery stops at the last batch wholly at or before its index", async () => {
    const of = await scene();
    const { process: W, part: writer } = of.writer("W");
    const both = Promise.all([writer.append(batch({ a: 1, b: 1 })), writer.append(batch({ a: 2, b: 2, c: 2 }))]);
    await of.stage.finish(W, both);
    expect(of.promises.log.files.length).toBe(1);

    const states = [];
    for (let index = 1; index <= 5; index++) states.push(await of.read({ index: toIndex(index) }));
    const [none, one, two] = [
      { index: 0, values: {} },
      { index: 2, values: { a: 1, b: 1 } },
      { index: 5, values: { a: 2, b: 2, c: 2 } },
    ];
    expect(states).toMatchObject([none, one, one, one, two]);
  });
});

describe("I6 Cleanup is safe", () => {
  test("I6 Cleanup is safe: a pinned generation and the log behind it stay, until the pin is dropped", async () => {
    const of = await scene();
    const w = of.writer("W");
    await of.append(w, batch({ n: 1 }));
    await of.capture();
    const reader = of.process("reader");
    const view = await of.stage.finish(reader, recover(reader.world, { id: ID, codec: "json", pinned: true }));
    for (let n = 2; n <= 4; n++) {
      await of.append(w, batch({ n }));
      await of.capture();
    }

    await of.clean();
    expect(of.promises.control?.lowWater).toBe(2);
    expect(await of.read({ index: toIndex(1) })).toMatchObject({ index: 1, from: 1, values: { n: 1 } });
    expect(await of.read({ index: toIndex(2) })).toMatchObject({ index: 2, values: { n: 2 } });

    await of.stage.finish(reader, view.close());
    await of.clean();
    expect(of.promises.control?.lowWater).toBe(4);
    await expect(of.read({ index: toIndex(1) })).rejects.toMatchObject({ code: "out-of-range" });
  });

  test("I6 Cleanup is safe: a cleanup that is overtaken by a pin lets nothing go", async () => {
    const of = await scene();
    const w = of.writer("W");
    for (let n = 1; n <= 3; n++) {
      await of.append(w, batch({ n }));
      await of.capture();
    }
    const cleaner = of.process("cleaner");
    const cleaned = cleanupShard(cleaner.world, { id: ID, policy: POLICY_DEFAULTS });
    await of.stage.until(cleaner, isWriteOf("control"));
    const reader = of.process("reader");
    await of.stage.finish(reader, recover(reader.world, { id: ID, codec: "json", at: { index: toIndex(1) }, pinned: true }));

    expect(await of.stage.finish(cleaner, cleaned)).toMatchObject({ kind: "outrun" });
    expect(of.promises.control?.lowWater).toBe(1);
  });
});

describe("I7 Cleanup is live", () => {
  test("I7 Cleanup is live: whatever a killed capture left, nothing of it is there at rest", async () => {
    const moments = ["createUpload", "uploadPart", "completeUpload", "commit"] as const;
    for (const moment of moments) {
      const of = await scene();
      const w0 = await freeFirstFile(of);
      await of.append(w0, batch({ c: 3 }));
      await killCaptureAfter(of, moment);
      of.leasesLapse();
      // Another size of parts: the record cannot be adopted, and what it names is left over.
      await of.capture();
      for (let round = 0; round < 3; round++) await of.clean();
      await of.promises.checkRest(of.stage.nowMs);
    }
  });

  test("I7 Cleanup is live: an upload that no record names is ended, though no other capture comes", async () => {
    const of = await scene();
    await of.append(of.writer("W"), batch({ a: 1 }));
    await killCaptureAfter(of, "createUpload");
    of.leasesLapse();
    expect(of.stage.objects.uploads.size).toBe(1);

    await of.clean();
    expect(of.stage.objects.uploads.size).toBe(0);
    expect(of.promises.met.fences).toBe(1);
  });
});

/** Kills a capture, with parts of a size of its own, behind the first step of that kind. */
async function killCaptureAfter(of: Scene, moment: "createUpload" | "uploadPart" | "completeUpload" | "commit"): Promise<void> {
  const C = of.process("C");
  captureOf(C.world, 700).catch(() => undefined);
  const step = await of.stage.until(C, (each) => (moment === "commit" ? isCommit(each) : each.method === moment));
  if (moment === "commit") of.stage.kill(C);
  else await of.stage.play(step, "crash-after");
}

describe("I8 Damage is found, never served", () => {
  test("I8 Damage is found, never served: every byte of a redo file, flipped in turn", async () => {
    const of = await scene();
    await of.append(of.writer("W"), batch({ a: 1, b: { c: 2 } }, "p"));
    const key = of.redoKey(1);
    const size = of.stage.objects.objects.get(key)?.length ?? 0;
    for (let at = 0; at < size; at++) {
      flip(of, key, at);
      await expect(of.read(), `byte ${at} of ${size}`).rejects.toMatchObject({ kind: "repair", object: key });
      flip(of, key, at);
    }
    expect(await of.read()).toMatchObject({ index: 2 });
  });

  test("I8 Damage is found, never served: every byte of the newest snapshot, flipped in turn, costs a generation", async () => {
    const of = await scene();
    await freeFirstFile(of);
    const { key = "", size = 0 } = of.promises.control?.checkpoint ?? {};
    for (let at = 0; at < size; at++) {
      flip(of, key, at);
      expect(await of.read(), `byte ${at} of ${size}`).toMatchObject({ index: 2, values: { a: 1, b: 2 }, passedOver: [key] });
      flip(of, key, at);
    }
    expect(await of.read()).toMatchObject({ index: 2, passedOver: [] });
  });

  test("I8 Damage is found, never served: a redo file that is missing, or that belongs elsewhere", async () => {
    const of = await scene();
    const elsewhere = await scene();
    for (const each of [of, elsewhere]) {
      const w = each.writer("W");
      for (let n = 1; n <= 3; n++) await each.append(w, batch({ n, by: each === of ? "here" : "elsewhere" }));
    }
    const key = of.redoKey(3);
    const foreign = elsewhere.stage.objects.objects.get(elsewhere.redoKey(3));
    const own = of.stage.objects.objects.get(key);

    of.stage.objects.damage(key, () => foreign ?? Buffer.alloc(0));
    await expect(of.read()).rejects.toMatchObject({ kind: "repair", object: key });
    of.stage.objects.damage(key, () => of.stage.objects.objects.get(of.redoKey(5)) ?? Buffer.alloc(0));
    await expect(of.read()).rejects.toMatchObject({ kind: "repair", object: key });
    of.stage.objects.damage(key, () => own ?? Buffer.alloc(0));
    expect(await of.read()).toMatchObject({ index: 6 });
    await of.stage.objects.deleteMany([key]);
    await expect(of.read()).rejects.toMatchObject({ kind: "repair", object: key });
  });
});

function flip(of: Scene, key: string, at: number): void {
  of.stage.objects.damage(key, (body) => {
    body[at] ^= 0x10;
    return body;
  });
}
