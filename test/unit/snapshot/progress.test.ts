import { hash } from "node:crypto";
import { expect, test } from "vitest";
import { PART_NOTE_BYTES_MAX } from "../../../lib/model/limits.ts";
import { type DoneGroups, encodeNote, progressOf, startBehind, type StoredPart } from "../../../lib/snapshot/progress.ts";
import { description, encodeRecords, jsonRecords } from "./parquet/records.ts";

const { groups } = await encodeRecords(jsonRecords(40), description, { pageRows: 2, groupBytes: 400 });
const fresh = groups.map((placed, i): DoneGroups => ({ kind: "fresh", placed, open: i % 2 === 0 }));
/** Keys are bytes: a note keeps them, whatever they are. */
const carried: DoneGroups = { kind: "carried", from: 3, to: 9, lastKey: Buffer.from([0, 0xff, 0x22, 0xe9]) };
const notes: readonly (readonly DoneGroups[])[] = [[fresh[0], carried], [], [fresh[1], fresh[2]], [carried]];

function partOf(number: number, note: readonly DoneGroups[] | undefined): StoredPart {
  const text = note && encodeNote(note);
  return { number, etag: `etag-${number}`, offset: (number - 1) * 100, length: 100, copied: number === 2, ...(text !== undefined && { note: text }) };
}

function storedOf(parts: readonly StoredPart[]): ReadonlyMap<number, StoredPart> {
  return new Map(parts.map((part) => [part.number, part]));
}

const parts = notes.map((note, i) => partOf(i + 1, note));

test("what parts note is what was done, in order", () => {
  const progress = progressOf(storedOf(parts.toReversed()));
  expect(progress).toEqual({ parts, done: notes.flat() });
  expect(groups.length).toBeGreaterThan(2);
  expect(progressOf(new Map())).toEqual({ parts: [], done: [] });
});

test("progress ends before a part that is not stored, that has no note, or that does not lie behind the one before", () => {
  const firstTwo = { parts: parts.slice(0, 2), done: notes.slice(0, 2).flat() };
  const { note: _, ...unnoted } = parts[2];
  expect(progressOf(storedOf([parts[0], parts[1], parts[3]]))).toEqual(firstTwo);
  expect(progressOf(storedOf([parts[0], parts[1], unnoted, parts[3]]))).toEqual(firstTwo);
  expect(progressOf(storedOf([parts[0], parts[1], { ...parts[2], offset: 201 }, parts[3]]))).toEqual(firstTwo);
  expect(progressOf(storedOf(parts.slice(1)))).toEqual({ parts: [], done: [] });
});

test("who goes on starts behind the last row group that is finished, within the run that it left open", () => {
  const startOf = (done: readonly DoneGroups[]) => startBehind({ parts: [], done });
  expect(startOf([])).toBeUndefined();
  expect(startOf([fresh[0], carried])).toEqual({ after: carried.lastKey, open: false });
  expect(startOf([carried, fresh[0]])).toEqual({ after: groups[0].group.lastKey, open: true });
  expect(startOf([carried, fresh[1]])).toEqual({ after: groups[1].group.lastKey, open: false });
});

test("a note that an item would not hold is none", () => {
  const largeKey = (i: number): Buffer => Buffer.concat([Buffer.alloc(900, "k"), Buffer.from(hash("sha512", `${i}`, "hex"), "hex")]);
  const many = (count: number) => Array.from({ length: count }, (_, i): DoneGroups => ({ kind: "carried", from: i, to: i + 1, lastKey: largeKey(i) }));
  const small = encodeNote(many(100));
  expect(small?.length).toBeLessThan(PART_NOTE_BYTES_MAX);
  expect(progressOf(storedOf([{ ...parts[0], note: small ?? "" }])).done).toEqual(many(100));
  expect(encodeNote(many(5_000))).toBeUndefined();
  expect(encodeNote(many(50_000))).toBeUndefined();
});

test("a note that is not what was written is none, and neither is what lies behind it", () => {
  const noted = parts.map((part) => part.note ?? "");
  const firstOnly = progressOf(storedOf([parts[0]]));
  for (const wrong of ["", "AAAA", noted[2].slice(0, -8), noted[0].replace(/[a-z]/, "0"), Buffer.from("no frame").toString("base64")])
    expect(progressOf(storedOf([parts[0], { ...parts[1], note: wrong }, ...parts.slice(2)]))).toEqual(firstOnly);
  // The frame's checksum finds what decompresses all the same.
  const frame = Buffer.from(noted[0], "base64");
  for (let at = 0; at < frame.length; at++) {
    frame[at] ^= 1;
    const { done } = progressOf(storedOf([{ ...parts[0], note: frame.toString("base64") }]));
    expect([[], firstOnly.done]).toContainEqual(done);
    frame[at] ^= 1;
  }
});
