import fc from "fast-check";
import { expect, test } from "vitest";
import { GROUP_RAW_BYTES, isSmall, splitBytes } from "../../../lib/snapshot/parquet/layout.ts";
import type { Piece, SpliceStart } from "../../../lib/snapshot/splice.ts";
import { type Change, modelState } from "../machines/keyed/log.ts";
import { anyChanges, baseOf, behind, changesOf, evenPuts, keyOf, namesOf, opened, piecesOf, snapshotOf, statesOf, TINY } from "./splices.ts";

const KEYS = 160;
const puts = evenPuts(KEYS);
const cuts = fc.array(fc.nat(KEYS).map(keyOf), { maxLength: 6 });

test("the pieces are the state that the log means, in whatever parts the changes come", async () => {
  await fc.assert(
    fc.asyncProperty(anyChanges(KEYS, 60), anyChanges(KEYS, 12), cuts, fc.boolean(), async (before, changes, borders, full) => {
      const log = [...puts, ...before, ...changes];
      const cut = puts.length + before.length;
      const base = await baseOf(log, cut);
      const pieces = await piecesOf({ base, changes: changesOf(log, cut), full });
      expect(await statesOf(await opened((await snapshotOf(pieces, base)).bytes))).toEqual(modelState(log));
      const inParts = await piecesOf({ base, changes: changesOf(log, cut, borders), full });
      expect(namesOf(inParts)).toEqual(namesOf(pieces));
      if (full) expect(pieces.every(({ kind }) => kind === "fresh")).toBe(true);
    }),
    { numRuns: 100 },
  );
}, 120_000);

test("a row group that no change touches is carried over, unless it is small and beside one that is encoded", async () => {
  await fc.assert(
    fc.asyncProperty(anyChanges(KEYS, 40), anyChanges(KEYS, 6), async (before, changes) => {
      const log = [...puts, ...before, ...changes];
      const base = await baseOf(log, log.length - changes.length);
      const { carried } = await snapshotOf(await piecesOf({ base, changes: changesOf(log, log.length - changes.length) }), base);
      const changed = changes.map(({ key }) => Buffer.from(key));
      for (const [place, group] of base.groups.entries()) {
        const { firstKey, lastKey } = group;
        const isTouched = changed.some((key) => Buffer.compare(key, firstKey) >= 0 && Buffer.compare(key, lastKey) <= 0);
        const isBeside = !carried.includes(place - 1) || !carried.includes(place + 1);
        if (isTouched) expect(carried).not.toContain(place);
        else if (!carried.includes(place)) expect([isSmall(group, TINY), isBeside]).toEqual([true, true]);
      }
    }),
    { numRuns: 100 },
  );
}, 120_000);

test("changes behind the last row group make one of their own, and those behind that are encoded with it while it is small", async () => {
  const sizes = { pageRows: 2, groupBytes: 1_000 };
  const log = [...evenPuts(80), ...[80, 82].map((number): Change => ({ kind: "put", key: keyOf(number), value: "1" }))];
  const base = await baseOf(log, 40, sizes);
  const first = await snapshotOf(await piecesOf({ base, changes: changesOf(log.slice(0, 41), 40), sizes }), base);
  const behindLast = await opened(first.bytes);
  expect(behindLast.groups.map((group) => isSmall(group, sizes))).toEqual([...base.groups.map(() => false), true]);
  const second = await snapshotOf(await piecesOf({ base: behindLast, changes: changesOf(log, 41), sizes }), behindLast);
  expect([first.carried, second.carried]).toEqual([[...base.groups.keys()], [...base.groups.keys()]]);
  expect(await statesOf(await opened(second.bytes))).toEqual(modelState(log));
});

test("started behind any finished row group, the pieces go on as they would have", async () => {
  await fc.assert(
    fc.asyncProperty(anyChanges(KEYS, 40), anyChanges(KEYS, 12), cuts, fc.boolean(), async (before, changes, borders, full) => {
      const log = [...puts, ...before, ...changes];
      const cut = log.length - changes.length;
      const base = await baseOf(log, cut);
      const pieces = await piecesOf({ base, changes: changesOf(log, cut), full });
      for (const start of startsIn(pieces, base.groups)) {
        const rest = await piecesOf({ base, changes: changesOf(log, cut, borders), full, start });
        expect(namesOf(rest), `behind ${start.after}`).toEqual(namesOf(behind(pieces, base, start.after)));
      }
    }),
    { numRuns: 20 },
  );
}, 120_000);

/** Behind each row group, fresh or carried. */
function startsIn(pieces: readonly Piece[], groups: readonly { readonly lastKey: Buffer }[]): readonly SpliceStart[] {
  return pieces.flatMap((piece): readonly SpliceStart[] =>
    piece.kind === "fresh"
      ? [{ after: piece.group.group.lastKey, open: piece.group.open }]
      : groups.slice(piece.from, piece.to).map(({ lastKey }) => ({ after: lastKey, open: false })),
  );
}

test("however often a snapshot is spliced, no two small row groups are neighbours, and sizes stay in bounds", async () => {
  for (const seed of [1, 2]) {
    const rounds = fc.sample(anyChanges(KEYS, 8), { numRuns: 150, seed });
    let log: readonly Change[] = puts;
    let base = await baseOf(log);
    for (const [round, changes] of rounds.entries()) {
      const cut = log.length;
      log = [...log, ...changes];
      const made = await snapshotOf(await piecesOf({ base, changes: changesOf(log, cut) }), base);
      base = await opened(made.bytes);
      const pages = await base.pagesOf(0, base.groups.length);
      const small = base.groups.map((group) => isSmall(group, TINY));
      expect(
        small.findIndex((one, place) => one && small[place + 1] === true),
        `seed ${seed}, round ${round}`,
      ).toBe(-1);
      for (const [place, { byteLength }] of base.groups.entries()) {
        const lastPage = pages[place].columns.reduce((sum, { bytes }) => sum + bytes[bytes.length - 1], 0);
        expect(byteLength - lastPage, `seed ${seed}, round ${round}`).toBeLessThan(splitBytes(TINY));
      }
    }
    expect(await statesOf(base)).toEqual(modelState(log));
    expect(base.description.splices).toBe(150);
  }
}, 180_000);

test("row groups that are small only because their bytes shrink far are carried over as any other", async () => {
  const value = JSON.stringify("x".repeat(500_000));
  const log: readonly Change[] = Array.from({ length: Math.ceil((3 * GROUP_RAW_BYTES) / value.length) }, (_, i) => ({ kind: "put", key: keyOf(2 * i), value }));
  const sizes = { pageRows: 1_024, groupBytes: 1_000_000 };
  const base = await baseOf(log, log.length, sizes);
  expect(base.groups.length).toBeGreaterThan(2);
  const pieces = await piecesOf({ base, sizes, changes: changesOf([...log, { kind: "put", key: keyOf(0), value: "1" }], log.length) });
  expect(pieces.filter(({ kind }) => kind === "carried")).toEqual([{ kind: "carried", from: 1, to: base.groups.length }]);
});
