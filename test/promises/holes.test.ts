// The holes that the model of the protocol found where a rule is taken away, each played step by step with the real code.
// Their ids are those of the model. Two verified generations are kept here, so each trace has one capture more than there.

import { describe, expect, test } from "vitest";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { toIndex } from "../../lib/model/position.ts";
import { POLICY_DEFAULTS } from "../../lib/model/table.ts";
import { batch, captureOf, freeFirstFile, ID, isCommit, isPut, isWriteOf, readOf, scene, stalledWriter } from "./scene.ts";

describe("holes in the log", () => {
  test("a1 a stalled writer that re-creates a freed name is not acknowledged", async () => {
    const of = await scene();
    const w1 = await stalledWriter(of, "W1", batch({ c: 3 }, "p1"));
    await freeFirstFile(of);

    await of.stage.play(w1.step);
    expect(of.promises.met.ghosts).toBe(1);
    const outcome = await of.stage.finish(w1.process, w1.appended);

    expect(outcome).toMatchObject({ kind: "appended", first: 3, last: 3 });
    expect(await of.read()).toMatchObject({ index: 3, values: { a: 1, b: 2, c: 3 } });
  });

  test("a2 a writer that lost its claim does not move behind a ghost", async () => {
    const of = await scene();
    const w1 = await stalledWriter(of, "W1", batch({ c: 3 }, "p1"));
    const w2 = await stalledWriter(of, "W2", batch({ d: 4, e: 5 }, "p2"));
    await freeFirstFile(of);

    await of.stage.play(w2.step);
    of.stage.kill(w2.process);
    const outcome = await of.stage.finish(w1.process, w1.appended);

    expect(of.promises.met.ghosts).toBe(1);
    expect(outcome).toMatchObject({ kind: "appended", first: 3, last: 3 });
    expect(await of.read()).toMatchObject({ index: 3, values: { a: 1, b: 2, c: 3 } });
  });

  test("a3 a writer that looks for the tail does not take a ghost for it", async () => {
    const of = await scene();
    const w1 = await stalledWriter(of, "W1", batch({ c: 3 }, "p1"));
    const w9 = of.writer("W9");
    for (const sequence of [1, 2]) await of.append(w9, batch({ z: sequence }, "p9", sequence));
    const w2 = await stalledWriter(of, "W2", batch({ d: 4, e: 5 }, "p2"));
    // Two claims are lost; then it walks, from the published tail on.
    await of.stage.until(w1.process, ({ method, args }) => method === "getRange" && args[0] === of.redoKey(3));
    await freeFirstFile(of);

    await of.stage.play(w2.step);
    of.stage.kill(w2.process);
    const outcome = await of.stage.finish(w1.process, w1.appended);

    expect(of.promises.met.ghosts).toBe(1);
    expect(outcome).toMatchObject({ kind: "appended", first: 5, last: 5 });
    expect(await of.read()).toMatchObject({ index: 5, values: { z: 2, a: 1, b: 2, c: 3 } });
  });

  /** A reader that has chosen its base, when cleanup frees the file behind it and a stalled writer takes the name. */
  async function readPassedByCleanup(at?: Parameters<typeof readOf>[1]): Promise<Awaited<ReturnType<typeof readOf>>> {
    const of = await scene();
    const w2 = await stalledWriter(of, "W2", batch({ d: 4, e: 5 }, "p2"));
    const reader = of.process("reader");
    const reading = readOf(reader.world, at);
    await of.stage.until(reader, ({ method }) => method === "query");
    await of.stage.play(reader.pending[0]);
    await freeFirstFile(of);
    await of.stage.play(w2.step);
    of.stage.kill(w2.process);
    return of.stage.finish(reader, reading);
  }

  test("a4 a reader that cleanup passed starts over: at the tail", async () => {
    expect(await readPassedByCleanup()).toMatchObject({ index: 2, values: { a: 1, b: 2 } });
  });

  test("a4 a reader that cleanup passed starts over: before the tail", async () => {
    expect(await readPassedByCleanup({ index: toIndex(2) })).toMatchObject({ index: 2, values: { a: 1, b: 2 } });
  });

  test("b1 a producer's later batch waits until the doubtful one is repeated", async () => {
    const of = await scene();
    const { process: W0, part: writer } = of.writer("W0");
    const [one, two] = [batch({ a: 1 }, "p", 1), batch({ b: 2 }, "p", 2)];
    const first = writer.append(one);
    first.catch(() => undefined);
    await of.stage.until(W0, isPut);
    const second = writer.append(two);
    second.catch(() => undefined);

    for (let attempt = 0; attempt < 3; attempt++) await of.stage.play(await of.stage.until(W0, isPut), "failed");

    await expect(of.stage.finish(W0, first)).rejects.toMatchObject({ kind: "retry", code: "no-answer" });
    await expect(of.stage.finish(W0, second)).rejects.toMatchObject({ kind: "retry", code: "batch-in-doubt" });
    expect(await of.stage.finish(W0, writer.append(one))).toMatchObject({ kind: "appended", first: 1 });
    expect(await of.stage.finish(W0, writer.append(two))).toMatchObject({ kind: "appended", first: 2 });
    expect(await of.read()).toMatchObject({ index: 2, values: { a: 1, b: 2 } });
  });

  test("b1 a producer's later batch waits as well where the one before never came to be sent", async () => {
    const of = await scene();
    const { process: W0, part: writer } = of.writer("W0");
    const [one, two] = [batch({ a: 1 }, "p", 1), batch({ b: 2 }, "p", 2)];
    const first = writer.append(one);
    first.catch(() => undefined);
    const look = await of.stage.until(W0, ({ method }) => method === "get");
    const second = writer.append(two);
    second.catch(() => undefined);

    await of.stage.play(look, "failed");

    await expect(of.stage.finish(W0, first)).rejects.toMatchObject({ kind: "retry" });
    await expect(of.stage.finish(W0, second)).rejects.toMatchObject({ kind: "retry" });
    expect(await of.stage.finish(W0, writer.append(one))).toMatchObject({ kind: "appended", first: 1 });
    expect(await of.stage.finish(W0, writer.append(two))).toMatchObject({ kind: "appended", first: 2 });
    expect(await of.read()).toMatchObject({ index: 2, values: { a: 1, b: 2 } });
  });
});

describe("holes where a writer begins with the published tail", () => {
  test("a1 a writer that stalled behind the published tail is not acknowledged below the mark", async () => {
    const of = await scene();
    await of.append(of.writer("W9"), batch({ z: 0 }, "p9"));
    const w1 = await stalledWriter(of, "W1", batch({ c: 3 }, "p1"));
    await freeFirstFile(of);

    await of.stage.play(w1.step);
    expect(of.promises.met.ghosts).toBe(1);
    expect(await of.stage.finish(w1.process, w1.appended)).toMatchObject({ kind: "appended", first: 4, last: 4 });
    expect(await of.read()).toMatchObject({ index: 4, values: { z: 0, a: 1, b: 2, c: 3 } });
  });

  test("a2 of two writers that begin at once, the loser appends behind the winner, and each batch applies once", async () => {
    const of = await scene();
    await of.append(of.writer("W9"), batch({ z: 0 }, "p9"));
    const [w1, w2] = [await stalledWriter(of, "W1", batch({ c: 3 }, "p1")), await stalledWriter(of, "W2", batch({ d: 4 }, "p2"))];

    await of.stage.play(w2.step);
    expect(await of.stage.finish(w1.process, w1.appended)).toMatchObject({ kind: "appended", first: 3 });
    expect(await of.stage.finish(w2.process, w2.appended)).toMatchObject({ kind: "appended", first: 2 });
    expect(await of.read()).toMatchObject({ index: 3, values: { z: 0, c: 3, d: 4 } });
    expect([of.promises.log.applied("p1", 1n), of.promises.log.applied("p2", 1n)]).toEqual([1, 1]);
  });

  test("a2 a writer that begins behind a ghost at the published tail does not move behind it", async () => {
    const of = await scene();
    await of.append(of.writer("W9"), batch({ z: 0 }, "p9"));
    const w1 = await stalledWriter(of, "W1", batch({ c: 3 }, "p1"));
    const w2 = await stalledWriter(of, "W2", batch({ d: 4, e: 5 }, "p2"));
    await freeFirstFile(of);

    await of.stage.play(w2.step);
    of.stage.kill(w2.process);
    expect(await of.stage.finish(w1.process, w1.appended)).toMatchObject({ kind: "appended", first: 4, last: 4 });
    expect(await of.read()).toMatchObject({ index: 4, values: { z: 0, a: 1, b: 2, c: 3 } });
  });
});

describe("holes in captures", () => {
  test("e1 a capture whose commit got no answer deletes nothing, even if it is overtaken", async () => {
    const of = await scene();
    const w0 = of.writer("W0");
    await of.append(w0, batch({ a: 1 }));
    const C0 = of.process("C0");
    const captured = captureOf(C0.world);
    const commit = await of.stage.until(C0, isCommit);
    await of.stage.play(commit, "lost");
    await of.append(w0, batch({ b: 2 }));
    const C1 = of.process("C1");
    const overtaking = captureOf(C1.world);
    await of.stage.until(C1, ({ method }) => method === "createUpload");

    expect(await of.stage.finish(C0, captured)).toMatchObject({ kind: "completed", index: 1 });
    expect(await of.read({ index: toIndex(1) })).toMatchObject({ from: 1, values: { a: 1 }, passedOver: [] });
    expect(await of.stage.finish(C1, overtaking)).toMatchObject({ kind: "completed", index: 2 });
  });

  test("f1 a capture starts from what the lease's own write showed, not from what it read before", async () => {
    const of = await scene();
    const w1 = await stalledWriter(of, "W1", batch({ d: 4, e: 5 }, "p1"));
    const C1 = of.process("C1");
    await of.append(of.writer("W9"), batch({ z: 0 }, "p9"));
    const captured = captureOf(C1.world);
    await of.stage.until(C1, isWriteOf("control"));
    const w0 = await freeFirstFile(of);
    await of.stage.play(w1.step);
    expect(of.promises.met.ghosts).toBe(1);
    of.stage.kill(w1.process);
    await of.append(w0, batch({ c: 3 }, "p0", 3));

    expect(await of.stage.finish(C1, captured)).toMatchObject({ kind: "completed", index: 4, mutations: 1 });
    expect(await of.read()).toMatchObject({ index: 4, from: 4, values: { z: 0, a: 1, b: 2, c: 3 } });
  });

  test("g0 a holder that lost its lease commits nothing", async () => {
    const of = await scene();
    await of.append(of.writer("W0"), batch({ a: 1 }));
    const [C0, C1] = [of.process("C0"), of.process("C1")];
    const first = captureOf(C0.world);
    await of.stage.until(C0, isCommit);
    of.leasesLapse();
    const second = captureOf(C1.world);
    await of.stage.until(C1, ({ method }) => method === "query");

    expect(of.promises.control?.epoch).toBe(2);
    expect(await of.stage.finish(C0, first)).toEqual({ kind: "outOfDate" });
    expect(of.promises.control?.checkpoint).toBeUndefined();
    expect(await of.stage.finish(C1, second)).toMatchObject({ kind: "completed", index: 1 });
    expect(of.promises.met.adoptions).toBe(1);
  });

  test("g1 a capture whose part a zombie wrote over clears its record, and the next one finishes", async () => {
    const of = await scene();
    await of.append(of.writer("W0"), batch({ a: 1 }));
    const [zombie, adopter] = [of.process("zombie"), of.process("adopter")];
    const first = captureOf(zombie.world);
    const part = await of.stage.until(zombie, ({ method }) => method === "uploadPart");
    of.leasesLapse();
    const second = captureOf(adopter.world);
    await of.stage.until(adopter, ({ method }) => method === "completeUpload");
    await of.stage.play(part);

    expect(await of.stage.finish(adopter, second)).toMatchObject({ kind: "aborted" });
    expect(of.promises.control?.capture).toBeUndefined();
    expect(await of.stage.finish(zombie, first)).toEqual({ kind: "outOfDate" });
    expect(await of.capture()).toMatchObject({ kind: "completed", index: 1 });
  });
});

describe("holes in cleanup", () => {
  test("d1 the mark lies between redo files, so that no index above it is deleted", async () => {
    const of = await scene({ compactionOverhead: 6 });
    const w0 = of.writer("W0");
    for (let round = 0; round < 3; round++) {
      await of.append(w0, batch({ a: round, b: round, c: round, d: round }));
      await of.capture();
    }
    await of.clean();

    expect(of.promises.control?.lowWater).toBe(5);
    expect([...of.stage.objects.objects.keys()].filter((key) => key.includes("/redo/"))).toEqual([of.redoKey(5), of.redoKey(9)]);
  });

  test("i3 the mark is raised before anything is deleted", async () => {
    const of = await scene();
    const w0 = of.writer("W0");
    for (let round = 0; round < 3; round++) {
      await of.append(w0, batch({ a: round }));
      await of.capture();
    }
    const cleaner = of.process("cleaner");
    const cleaned = cleanupShard(cleaner.world, { id: ID, policy: POLICY_DEFAULTS });
    cleaned.catch(() => undefined);

    await of.stage.until(cleaner, isWriteOf("control"));
    of.promises.checkLog();
    await of.stage.play(cleaner.pending[0]);
    expect(of.promises.control?.lowWater).toBe(3);
    of.promises.checkLog();
    of.stage.kill(cleaner);
    expect(of.stage.objects.objects.has(of.redoKey(1))).toBe(true);
    await of.clean();
    expect(of.stage.objects.objects.has(of.redoKey(1))).toBe(false);
  });

  test("n2 the mark stays at the second newest verified generation, so that one damage costs nothing", async () => {
    const of = await scene();
    await freeFirstFile(of);
    const newest = of.promises.control?.checkpoint?.key ?? "";

    of.stage.objects.damage(newest, (body) => body.fill(0xff, 100, 101));

    expect(of.promises.control?.lowWater).toBe(2);
    expect(await of.read()).toMatchObject({ index: 2, values: { a: 1, b: 2 }, passedOver: [newest] });
  });
});
