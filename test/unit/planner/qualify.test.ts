import fc from "fast-check";
import { expect, test } from "vitest";
import type { TailHint } from "../../../lib/model/control.ts";
import { CAPTURE_LOG_BYTES_MIN } from "../../../lib/model/limits.ts";
import { ASSUMED_RATES } from "../../../lib/model/rates.ts";
import { POLICY_DEFAULTS } from "../../../lib/model/table.ts";
import type { CapturePolicy } from "../../../lib/planner/outlook.ts";
import { outlookOf } from "../../../lib/planner/outlook.ts";
import { qualify } from "../../../lib/planner/qualify.ts";
import { hintWith } from "../checkpoint/samples.ts";

const id = { table: "players", shard: 0 };
const MIB = 1024 * 1024;

/** Limits far away, so that one law at a time decides. */
const CALM: CapturePolicy = { captureLogPercent: 10_000, recoverWithinMs: 10 ** 12, captureAfterMutations: 10 ** 9, captureAfterMs: 10 ** 12 };

function decide(hint: TailHint, change: Partial<CapturePolicy>, nowMs = 0, shard = id) {
  return qualify({ id: shard, hint }, { ...CALM, ...change }, nowMs);
}

/** The log behind the checkpoint, and the snapshot before it. */
function logOf(
  bytes: number,
  { snapshotBytes, files = 1, mutations = 1 }: { readonly snapshotBytes?: number; readonly files?: number; readonly mutations?: number },
) {
  const log = { files: 100 + files, bytes: 7_000 + bytes, rawBytes: 3 * bytes };
  return hintWith({
    next: 501 + mutations,
    capturedNext: 501,
    log,
    capturedLog: { files: 100, bytes: 7_000 },
    ...(snapshotBytes !== undefined && { snapshotBytes }),
  });
}

const dueAtMs = outlookOf({ id, hint: hintWith({}) }, { ...CALM, captureAfterMs: 60_000 }).dueAtMs;

test.each([
  ["nothing waits, at once", 1, 1, 0, { kind: "idle" }],
  ["nothing waits, long after", 501, 501, 10 ** 9, { kind: "idle" }],
  ["a capture is ahead of the hint", 401, 501, 10 ** 9, { kind: "idle" }],
  ["one mutation, before the interval", 502, 501, dueAtMs - 1, { kind: "waits", mutations: 1, dueAtMs }],
  ["one mutation, at the interval", 502, 501, dueAtMs, { kind: "qualifies", by: "interval", mutations: 1 }],
  ["one below the limit", 600, 501, 0, { kind: "waits", mutations: 99, dueAtMs }],
  ["at the limit, at once", 601, 501, 0, { kind: "qualifies", by: "mutations", mutations: 100 }],
  ["both limits: the mutations are named", 700, 501, 10 ** 9, { kind: "qualifies", by: "mutations", mutations: 199 }],
])("%s", (_, next, capturedNext, nowMs, expected) => {
  expect(decide(hintWith({ next, capturedNext }), { captureAfterMutations: 100, captureAfterMs: 60_000 }, nowMs)).toEqual(expected);
});

test("mutations that arrive during a capture stay counted", () => {
  fc.assert(
    fc.property(fc.nat(10_000), fc.nat(10_000), fc.nat(10_000), (captured, taken, meanwhile) => {
      const after = decide(hintWith({ next: 1 + captured + taken + meanwhile, capturedNext: 1 + captured + taken }), { captureAfterMutations: 1 });
      expect(after).toEqual(meanwhile === 0 ? { kind: "idle" } : { kind: "qualifies", by: "mutations", mutations: meanwhile });
    }),
  );
});

test("however much is due of it, a shard whose every mutation is captured is idle", () => {
  const hint = { ...logOf(10 ** 12, { snapshotBytes: 1, files: 10 ** 6 }), capturedNext: logOf(0, {}).border.next };
  expect(decide(hint, { captureLogPercent: 1, recoverWithinMs: 1_000, captureAfterMutations: 1, captureAfterMs: 1_000 }, 10 ** 13)).toEqual({ kind: "idle" });
});

test.each([
  ["one byte below the share of the snapshot", 50 * MIB - 1, 100 * MIB, "waits"],
  ["the share of the snapshot", 50 * MIB, 100 * MIB, "qualifies"],
  ["the share of a small snapshot, below the floor", CAPTURE_LOG_BYTES_MIN - 1, 1_000, "waits"],
  ["the floor", CAPTURE_LOG_BYTES_MIN, 1_000, "qualifies"],
])("by the log's share: %s", (_, bytes, snapshotBytes, kind) => {
  expect(decide(logOf(bytes, { snapshotBytes }), { captureLogPercent: 50 })).toMatchObject({ kind, ...(kind === "qualifies" && { by: "log" }) });
});

test("without a snapshot the floor is all; where an older version made the snapshot, its size is not guessed", () => {
  const first = { ...logOf(CAPTURE_LOG_BYTES_MIN, {}), capturedNext: hintWith({}).capturedNext };
  expect(decide(first, { captureLogPercent: 50 })).toMatchObject({ kind: "qualifies", by: "log" });
  expect(decide(logOf(10 ** 12, {}), { captureLogPercent: 50 })).toMatchObject({ kind: "waits" });
});

test("captures by the share send at most 100 / captureLogPercent bytes for each byte of log, whatever comes in how many bytes", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 400 }),
      fc.array(fc.integer({ min: 1, max: 400 * MIB }), { maxLength: 200 }),
      fc.integer({ min: 0, max: 2_000 }),
      (percent, rounds, growth) => {
        let hint = logOf(0, { snapshotBytes: 100 * MIB });
        let [sent, logged] = [0, 0];
        for (const bytes of rounds) {
          logged += bytes;
          hint = { ...hint, log: { ...hint.log, bytes: hint.log.bytes + bytes } };
          if (decide(hint, { captureLogPercent: percent }).kind !== "qualifies") continue;
          sent += hint.snapshotBytes ?? 0;
          hint = { ...hint, capturedLog: { files: hint.log.files, bytes: hint.log.bytes }, snapshotBytes: (hint.snapshotBytes ?? 0) + growth };
        }
        expect(sent).toBeLessThanOrEqual((logged * 100) / percent);
      },
    ),
  );
});

test("with the defaults 100 rounds of 1 % uniform changes store at most 1.5 bytes for each byte appended", () => {
  const [redo, logical, snapshot] = [870_000, 2_470_000, 78_000_000];
  let hint = logOf(0, { snapshotBytes: snapshot, files: 0, mutations: 0 });
  let [stored, captures] = [0, 0];
  for (let round = 1; round <= 100; round++) {
    const { log, border } = hint;
    hint = {
      ...hint,
      log: { files: log.files + 1, bytes: log.bytes + redo, rawBytes: 0 },
      border: { ...border, next: hintWith({ next: border.next + 10_000 }).border.next },
    };
    stored += redo;
    if (qualify({ id, hint }, POLICY_DEFAULTS, round * 60_000).kind !== "qualifies") continue;
    captures += 1;
    stored += snapshot;
    hint = { ...hint, capturedLog: hint.log, capturedNext: hint.border.next, capturedAtMs: round * 60_000 };
  }
  expect(captures).toBe(2);
  expect(stored / (100 * logical)).toBeLessThanOrEqual(1.5);
});

/** Seconds of the assumed rates. */
const snapshotOf = (seconds: number) => seconds * ASSUMED_RATES.readPerSecond;
const filesOf = (seconds: number) => Math.round((seconds * 1e6) / ASSUMED_RATES.fileMicros) - 1;

test.each([
  ["within the wanted time", 10, 50, "waits"],
  ["longer than is wanted", 10, 51, "qualifies"],
  ["longer than is wanted, of which the snapshot takes most, and the log less than it", 50, 49, "waits"],
  ["twice as long as the snapshot alone, which takes most of what is wanted", 50, 51, "qualifies"],
  ["longer than is wanted by the snapshot alone", 250, 249, "waits"],
  ["twice as long as the snapshot alone, which is longer than is wanted", 250, 251, "qualifies"],
])("by the time of a recovery: %s", (_, snapshotSeconds, logSeconds, kind) => {
  const hint = logOf(1_000, { snapshotBytes: snapshotOf(snapshotSeconds), files: filesOf(logSeconds), mutations: 10 });
  expect(decide(hint, { recoverWithinMs: 60_000 })).toMatchObject({ kind, ...(kind === "qualifies" && { by: "recovery" }) });
});

test("a recovery that takes the wanted time exactly is soon enough", () => {
  const hint = { ...logOf(1_000, { files: 3 }), rates: { fileMicros: 20_000_000 } };
  expect([60_000, 59_999].map((recoverWithinMs) => decide(hint, { recoverWithinMs }).kind)).toEqual(["waits", "qualifies"]);
});

test("a capture that is due by the time of a recovery cuts it to half or less of what it was", () => {
  const load = fc.record({
    snapshotBytes: fc.nat(10 ** 12),
    files: fc.nat(10 ** 7),
    mutations: fc.integer({ min: 1, max: 10 ** 9 }),
    within: fc.integer({ min: 1_000, max: 10 ** 7 }),
  });
  fc.assert(
    fc.property(load, ({ snapshotBytes, files, mutations, within }) => {
      const hint = logOf(1, { snapshotBytes, files, mutations });
      const { recovery } = outlookOf({ id, hint }, { ...CALM, recoverWithinMs: within });
      const decision = decide(hint, { recoverWithinMs: within, captureAfterMutations: 10 ** 10 });
      if (decision.kind === "qualifies") expect(recovery.snapshotMs).toBeLessThanOrEqual(recovery.expectedMs / 2);
      else expect(recovery.expectedMs).toBeLessThanOrEqual(Math.max(within, 2 * recovery.snapshotMs));
      expect(recovery.outgrown).toBe(2 * recovery.snapshotMs > within);
    }),
  );
});

test("a shard of 10 GB with a trickle of changes is captured by its interval, once a day", () => {
  // A redo file a minute.
  const trickle = (hours: number) =>
    decide(logOf(hours * 60 * 1_200, { snapshotBytes: 10e9, files: hours * 60, mutations: hours * 60 }), POLICY_DEFAULTS, hours * 3_600_000);
  expect([1, 6, 21].map((hours) => trickle(hours).kind)).toEqual(["waits", "waits", "waits"]);
  expect(trickle(24)).toMatchObject({ kind: "qualifies", by: "interval" });
});

test("what was measured counts, not what was assumed", () => {
  const hint = logOf(1_000, { snapshotBytes: 1_000, files: filesOf(70), mutations: 10 });
  expect(decide(hint, { recoverWithinMs: 60_000 })).toMatchObject({ by: "recovery" });
  expect(decide({ ...hint, rates: { fileMicros: ASSUMED_RATES.fileMicros / 2 } }, { recoverWithinMs: 60_000 })).toMatchObject({ kind: "waits" });
});

test("the interval of a shard is the table's less up to a tenth, always the same, and spread over the shards", () => {
  const dueOf = (shard: number) => {
    const decision = decide(hintWith({ next: 2, capturedAtMs: 5_000 }), { captureAfterMs: 86_400_000 }, 0, { table: "players", shard });
    return decision.kind === "waits" ? decision.dueAtMs - 5_000 : 0;
  };
  const due = Array.from({ length: 1_000 }, (_, shard) => dueOf(shard));
  expect(due).toEqual(due.map((_, shard) => dueOf(shard)));
  expect(Math.min(...due)).toBeGreaterThan(86_400_000 * 0.9 - 1);
  expect(Math.max(...due)).toBeLessThanOrEqual(86_400_000);
  const tenths = Array.from({ length: 10 }, (_, tenth) => due.filter((ms) => Math.floor((86_400_000 - ms) / 864_000) === tenth).length);
  expect(Math.min(...tenths)).toBeGreaterThan(60);
});

test("more log, more mutations and more time never make a shard wait that was due", () => {
  const figures = fc.record({
    bytes: fc.nat(10 ** 9),
    snapshotBytes: fc.nat(10 ** 9),
    files: fc.nat(10 ** 5),
    mutations: fc.integer({ min: 1, max: 10 ** 8 }),
    nowMs: fc.nat(10 ** 9),
  });
  fc.assert(
    fc.property(figures, figures, (some, more) => {
      const kindOf = ({ bytes, files, mutations, nowMs }: typeof some) =>
        decide(logOf(bytes, { snapshotBytes: some.snapshotBytes, files, mutations }), POLICY_DEFAULTS, nowMs).kind;
      const sum = {
        ...some,
        bytes: some.bytes + more.bytes,
        files: some.files + more.files,
        mutations: some.mutations + more.mutations,
        nowMs: some.nowMs + more.nowMs,
      };
      if (kindOf(some) === "qualifies") expect(kindOf(sum)).toBe("qualifies");
    }),
  );
});

test("of what is not known there is no figure, not even an empty one", () => {
  const hint = hintWith({ next: 502, capturedNext: 501 });
  expect(Object.keys(outlookOf({ id, hint }, CALM))).toEqual(["mutations", "log", "recovery", "dueAtMs"]);
});

test("write amplification is all that was stored over all that was appended, and unknown where nothing was", () => {
  const hint = hintWith({ log: { files: 9, bytes: 300, rawBytes: 1_000 }, sentBytes: 900 });
  expect([outlookOf({ id, hint }, CALM).writeAmplification, outlookOf({ id, hint: hintWith({}) }, CALM)]).toEqual([
    1.2,
    expect.not.objectContaining({ writeAmplification: expect.anything() }),
  ]);
});
