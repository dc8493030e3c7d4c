import { expect, test } from "vitest";
import {
  asHolder,
  clearCapture,
  cleaned,
  commitCheckpoint,
  type Holder,
  noteReadBack,
  opened,
  recordCapture,
  releaseLease,
  renewLease,
  takeLease,
} from "../../../lib/checkpoint/transitions.ts";
import type { Control } from "../../../lib/model/control.ts";
import { toEpoch, toIndex } from "../../../lib/model/position.ts";
import { checkpointAt, controlWith, incarnation, recordAt } from "./samples.ts";

const lease = { owner: "me", untilMs: 100 };
const holder: Holder = { incarnation, epoch: toEpoch(3) };
const held = controlWith({ lease });
const lost = { kind: "lost" };

test("a shard's life begins at epoch 0 with all of its log kept", () => {
  expect(opened(incarnation)).toEqual({ incarnation, epoch: 0, lowWater: 1 });
});

test.each([
  ["free", undefined, 50, "taken"],
  ["held by another", lease, 99, "rejected"],
  ["lapsed this moment", lease, 100, "taken"],
  ["lapsed long ago", lease, 10_000, "taken"],
] as const)("a lease that is %s", (_, found, nowMs, expected) => {
  const control = controlWith({ ...(found && { lease: found }), capture: recordAt(9, 2) });
  const taken = takeLease(control, { owner: "new", nowMs, ttlMs: 60 });
  expect(taken).toEqual(
    expected === "rejected"
      ? { kind: "rejected", owner: "me", untilMs: 100 }
      : { kind: "to", control: { ...control, epoch: 4, lease: { owner: "new", untilMs: nowMs + 60 } } },
  );
});

const others: readonly (readonly [string, Control])[] = [
  ["a newer epoch", controlWith({ lease, epoch: toEpoch(4) })],
  ["an older epoch", controlWith({ lease, epoch: toEpoch(2) })],
  ["another incarnation", controlWith({ lease, incarnation: "ffffffffffffffff" })],
];

test.each(others)("a fenced holder changes nothing: %s", (_, control) => {
  const outcomes = [
    renewLease(control, holder, 200),
    releaseLease(control, holder, 50),
    recordCapture(control, holder, recordAt(9, 3)),
    clearCapture(control, holder),
    commitCheckpoint(control, holder, checkpointAt(9, 3)),
  ];
  expect(outcomes).toEqual([lost, lost, lost, lost, lost]);
});

test("a holder renews and releases its lease, once it has one", () => {
  const ended = controlWith();
  expect([renewLease(held, holder, 200), releaseLease(held, holder, 50), renewLease(ended, holder, 200), releaseLease(ended, holder, 50)]).toEqual([
    { kind: "to", control: { ...held, lease: { owner: "me", untilMs: 200 } } },
    { kind: "to", control: { ...held, lease: { owner: "me", untilMs: 50 } } },
    lost,
    lost,
  ]);
});

test("a holder whose own write was overtaken takes the lease again, though it still runs", () => {
  expect(takeLease(held, { owner: "me", nowMs: 50, ttlMs: 60 })).toEqual({
    kind: "to",
    control: controlWith({ epoch: toEpoch(4), lease: { owner: "me", untilMs: 110 } }),
  });
});

test("how far a capture was read back is noted on that capture alone, by its holder alone", () => {
  const capture = recordAt(9, 3);
  const control = controlWith({ lease, capture });
  expect([
    noteReadBack(control, holder, capture.uploadId, 4),
    noteReadBack(control, holder, "upload-2", 4),
    noteReadBack(held, holder, capture.uploadId, 4),
    noteReadBack({ ...control, epoch: toEpoch(4) }, holder, capture.uploadId, 4),
  ]).toEqual([{ kind: "to", control: { ...control, capture: { ...capture, readBack: 4 } } }, lost, lost, lost]);
});

test("a record is left as it is by a release, for the next holder to adopt", () => {
  const control = controlWith({ lease, capture: recordAt(9, 3) });
  expect(releaseLease(control, holder, 50)).toEqual({ kind: "to", control: { ...control, lease: { owner: "me", untilMs: 50 } } });
});

test("a record takes the place of the one before", () => {
  const control = controlWith({ lease, capture: recordAt(7, 2) });
  expect(recordCapture(control, holder, recordAt(9, 3))).toEqual({ kind: "to", control: { ...control, capture: recordAt(9, 3) } });
});

test("clearing a record ends the lease with it", () => {
  expect(clearCapture(controlWith({ lease, capture: recordAt(9, 3) }), holder)).toEqual({ kind: "to", control: controlWith() });
});

test.each([
  ["the first", undefined, 5, true],
  ["a greater index", 4, 5, true],
  ["the same index", 5, 5, false],
  ["a smaller index", 6, 5, false],
] as const)("a checkpoint only moves forward (I4): %s", (_, before, index, moves) => {
  const control = controlWith({ lease, capture: recordAt(index, 3), ...(before !== undefined && { checkpoint: checkpointAt(before) }) });
  const outcome = commitCheckpoint(control, holder, checkpointAt(index, 3));
  expect(outcome).toEqual(moves ? { kind: "to", control: controlWith({ checkpoint: checkpointAt(index, 3) }) } : lost);
});

test("cleanup raises the mark and leaves the rest", () => {
  const control = controlWith({ lease, capture: recordAt(9, 3) });
  expect(cleaned(control, { lowWater: toIndex(5), fence: false })).toEqual({ ...control, lowWater: 5 });
});

test("a fence is a new epoch without lease or record", () => {
  const control = controlWith({ lease, capture: recordAt(9, 3), checkpoint: checkpointAt(4) });
  expect(cleaned(control, { lowWater: toIndex(5), fence: true })).toEqual(
    controlWith({ checkpoint: checkpointAt(4), epoch: toEpoch(4), lowWater: toIndex(5) }),
  );
});

test("the holder's condition names incarnation and epoch", () => {
  expect(asHolder(holder)).toEqual([
    { kind: "eq", attribute: "incarnation", value: incarnation },
    { kind: "eq", attribute: "epoch", value: 3 },
  ]);
});
