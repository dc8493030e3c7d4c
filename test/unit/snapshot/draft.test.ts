import { expect, test } from "vitest";
import { type Draft, openDraft, placedBytes } from "../../../lib/snapshot/draft.ts";
import { type FinishedGroup, rowGroupEncoder } from "../../../lib/snapshot/parquet/groups.ts";
import { MAGIC } from "../../../lib/snapshot/parquet/layout.ts";
import { type Progress, progressOf } from "../../../lib/snapshot/progress.ts";
import { description, encodeRecords, jsonRecords, toRows } from "./parquet/records.ts";
import { opened } from "./splices.ts";

const sizes = { pageRows: 2, groupBytes: 300 };
const base = await opened((await encodeRecords(jsonRecords(20), description, sizes)).bytes);

async function freshGroups(count: number): Promise<readonly FinishedGroup[]> {
  const encoder = rowGroupEncoder(sizes);
  for (let group = 0; group < count; group++) {
    encoder.push(toRows(jsonRecords(2 * count)), 2 * group, 2 * group + 2);
    encoder.cut();
  }
  return encoder.drain();
}

/** What a part with this note says. */
function progressOfNote(note: string | undefined): Progress {
  return progressOf(new Map([[1, { number: 1, etag: "e", offset: 0, length: 1, copied: false, ...(note !== undefined && { note }) }]]));
}

const names = ({ done }: Progress) => done.map((one) => (one.kind === "carried" ? `${one.from} to ${one.to}` : one.placed.group.sha256));

async function carry(draft: Draft, from: number, to: number): Promise<void> {
  draft.carry(base.groups.slice(from, to), await base.pagesOf(from, to), from);
}

test("the magic comes once, in front of the first row group, or when it is asked for; a later section has none", async () => {
  const [first, second] = await freshGroups(2);
  const draft = await openDraft(undefined, undefined);
  expect([draft.fresh(first), draft.fresh(second), draft.takeHead()]).toEqual([[MAGIC, first.bytes], [second.bytes], []]);
  expect([draft.assembly.end, placedBytes(draft)]).toEqual([4 + first.bytes.length + second.bytes.length, 4 + first.bytes.length + second.bytes.length]);
  const empty = await openDraft(undefined, undefined);
  expect([placedBytes(empty), empty.takeHead(), empty.takeHead()]).toEqual([0, [MAGIC], []]);
  const section = await openDraft(undefined, undefined, false);
  expect([section.takeHead(), section.fresh(first), section.assembly.end]).toEqual([[], [first.bytes], first.bytes.length]);
});

test("a note tells the row groups that end at or before an offset, each once, and those of the base that follow one another as one", async () => {
  const [first, second] = await freshGroups(2);
  const draft = await openDraft(undefined, base);
  draft.fresh(first);
  const firstEnd = draft.assembly.end;
  await carry(draft, 0, 2);
  await carry(draft, 2, 3);
  await carry(draft, 4, 5);
  const carriedEnd = draft.assembly.end;
  draft.fresh(second);
  expect(names(progressOfNote(draft.noteUpTo(firstEnd - 1)))).toEqual([]);
  expect(names(progressOfNote(draft.noteUpTo(firstEnd)))).toEqual([first.group.sha256]);
  expect(names(progressOfNote(draft.noteUpTo(carriedEnd + 1)))).toEqual(["0 to 3", "4 to 5"]);
  expect(names(progressOfNote(draft.noteUpTo(Infinity)))).toEqual([second.group.sha256]);
  expect(names(progressOfNote(draft.noteUpTo(Infinity)))).toEqual([]);
  expect([...draft.carried]).toEqual([1, 2, 3, 4]);
  expect(draft.assembly.groups.map(({ group }) => group.carried)).toEqual([0, 1, 1, 1, 1, 0]);
});

test("who goes on with a draft has what was placed, and notes none of it again", async () => {
  const [first, second] = await freshGroups(2);
  const draft = await openDraft(undefined, base);
  draft.fresh(first);
  await carry(draft, 1, 4);
  const again = await openDraft(progressOfNote(draft.noteUpTo(Infinity)), base);
  expect([again.takeHead(), names(progressOfNote(again.noteUpTo(Infinity)))]).toEqual([[], []]);
  expect([again.assembly.groups, again.carried, placedBytes(again)]).toEqual([draft.assembly.groups, draft.carried, placedBytes(draft)]);
  expect(again.fresh(second)).toEqual([second.bytes]);
  expect(names(progressOfNote(again.noteUpTo(Infinity)))).toEqual([second.group.sha256]);
});
