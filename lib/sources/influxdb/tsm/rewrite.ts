// A TSM file without the points that are gone: those which its tombstone file deletes, and those outside of a range of time.
// Why: InfluxDB's online restore ignores tombstone files, so that deleted points would come back.
//
// The first pass reads the index and decides of every block: it goes, it stays, or it is cut; what is cut is decoded, encoded again
// and measured. So the exact size of the new file is known before its first byte. The second pass decides the same again and
// streams: blocks that stay as their bytes, cut ones encoded anew, then the index and the footer. Between the passes 20 bytes are
// held for each block that is cut.
//
// Guarantees: exactly the points that go are missing, every other is the same to the bit; keys ascend, the blocks of a key are in
// order of time, and first and last times are exact; of a block nothing is handed out before its CRC-32 holds (I8). Memory is
// bounded, whatever the size of the file.

import { assert } from "../../../model/assert.ts";
import { TidemarkError } from "../../../model/errors.ts";
import { decodeBlock, encodeBlock, onlyRuns } from "./block.ts";
import { type CutBlock, type CutLog, cutLog } from "./cuts.ts";
import { orDamaged, quoted } from "./faults.ts";
import { CHECKSUM_BYTES, FOOTER_BYTES, HEADER, type TsmSource } from "./layout.ts";
import { ascends, keptRuns } from "./ranges.ts";
import { type BlockEntry, openTsm, readBlocks, readIndex, type TsmFile } from "./read.ts";
import { type KeyPlan, type PlannedBlock, planByKey, type Removal } from "./removal.ts";
import { footer, indexKey, indexKeyBytes, inPieces, sealBlock } from "./write.ts";

export type Rewrite =
  /** No point goes: the file is right as it is. */
  | { readonly kind: "unchanged" }
  /** No point is left: InfluxDB has no file without points. */
  | { readonly kind: "empty" }
  | RewrittenFile;

export interface RewrittenFile {
  readonly kind: "rewritten";
  /** Exactly what `bytes` gives. */
  readonly byteLength: number;
  readonly keysGone: number;
  readonly blocksGone: number;
  readonly blocksCut: number;
  /** The new file in pieces. Each call reads the old one anew, which must be as it was. */
  bytes(): AsyncGenerator<Buffer>;
}

/** Plans the file without what `removal` takes from it. */
export async function withoutDeleted(source: TsmSource, removal: Removal): Promise<Rewrite> {
  const file = await openTsm(source);
  const cuts = cutLog();
  const cursor = { at: 0 };
  const counts = { keysGone: 0, blocksGone: 0, blocksCut: 0 };
  let byteLength = HEADER.length + FOOTER_BYTES;
  let isEmpty = true;
  for await (const plans of plansOf(file, removal)) {
    counts.blocksCut += await cutInto(cuts, file, plans);
    for (const plan of plans) {
      const blocks = settled(plan, cuts, cursor);
      counts.blocksGone += plan.blocksBefore - blocks.length;
      if (blocks.length === 0) counts.keysGone++;
      else {
        isEmpty = false;
        byteLength += indexKeyBytes(plan.key, blocks.length);
        for (const { length } of blocks) byteLength += length;
      }
    }
  }
  if (isEmpty) return { kind: "empty" };
  if (counts.blocksGone === 0 && counts.blocksCut === 0) return { kind: "unchanged" };
  return { kind: "rewritten", byteLength, ...counts, bytes: () => stream(file, removal, cuts, byteLength) };
}

async function* plansOf(file: TsmFile, removal: Removal): AsyncGenerator<readonly KeyPlan[]> {
  const planKey = planByKey(removal);
  for await (const keys of readIndex(file)) yield keys.map(planKey);
}

/** Cuts what is to be cut, and notes what becomes of it; says how many blocks have fewer points, but some. */
async function cutInto(cuts: CutLog, file: TsmFile, plans: readonly KeyPlan[]): Promise<number> {
  const jobs = plans.flatMap((plan) => plan.blocks.filter(({ isCut }) => isCut).map((block) => ({ plan, block })));
  const blocks = jobs.map(({ block }) => block);
  let changed = 0;
  let next = 0;
  for await (const together of readBlocks(file, blocks)) {
    for (const stored of together) {
      const { plan, block } = jobs[next++];
      const cut = cutBlock(file, plan, block, stored);
      cuts.push(cut);
      if (cut.length > 0 && cut.stored !== stored) changed++;
    }
  }
  return changed;
}

/** A block as it is in the new file, and where it comes from. */
interface SettledBlock extends CutBlock {
  readonly from: PlannedBlock;
}

/** The key's blocks of which some points are left. `cursor` stands at its first cut. */
function settled({ blocks }: KeyPlan, cuts: CutLog, cursor: { at: number }): readonly SettledBlock[] {
  return blocks.map((from) => ({ ...(from.isCut ? cuts.at(cursor.at++) : from), from })).filter(({ length }) => length > 0);
}

interface StoredCut extends CutBlock {
  /** With its CRC; the block that came in, where no point of it goes; no bytes, where none is left. */
  readonly stored: Buffer;
}

function cutBlock({ source }: TsmFile, { key, type, ranges }: KeyPlan, block: BlockEntry, stored: Buffer): StoredCut {
  return orDamaged(
    source.name,
    () => `the block at ${block.offset}, key ${quoted(key)}`,
    () => {
      const points = decodeBlock(stored.subarray(CHECKSUM_BYTES));
      const { times } = points;
      if (points.type !== type) throw new RangeError(`it has the type ${points.type} where the index says ${type}`);
      if (!ascends(times)) throw new RangeError("its times do not ascend");
      if (times[0] !== block.first || times[times.length - 1] !== block.last) throw new RangeError("it has other times than the index says");
      const runs = keptRuns(ranges, times);
      if (runs.length === 0) return { stored: Buffer.alloc(0), length: 0, first: block.first, last: block.last };
      if (runs[0] === 0 && runs[1] === times.length) return { stored, length: stored.length, first: block.first, last: block.last };
      const left = onlyRuns(points, runs);
      const cut = sealBlock(encodeBlock(left));
      return { stored: cut, length: cut.length, first: left.times[0], last: left.times[left.times.length - 1] };
    },
  );
}

async function* stream(file: TsmFile, removal: Removal, cuts: CutLog, byteLength: number): AsyncGenerator<Buffer> {
  let streamed = 0;
  for await (const piece of inPieces(partsOf(file, removal, cuts))) {
    streamed += piece.length;
    yield piece;
  }
  assert(streamed === byteLength, "a new file has the size that was planned");
}

async function* partsOf(file: TsmFile, removal: Removal, cuts: CutLog): AsyncGenerator<readonly Buffer[]> {
  yield [HEADER];
  yield* blocksOf(file, removal, cuts);
  yield* indexOf(file, removal, cuts);
}

async function* blocksOf(file: TsmFile, removal: Removal, cuts: CutLog): AsyncGenerator<readonly Buffer[]> {
  const cursor = { at: 0 };
  for await (const plans of plansOf(file, removal)) {
    const jobs = plans.flatMap((plan) => settled(plan, cuts, cursor).map((block) => ({ plan, block })));
    const places = jobs.map(({ block }) => block.from);
    let next = 0;
    for await (const together of readBlocks(file, places)) {
      yield together.map((stored) => {
        const { plan, block } = jobs[next++];
        return block.from.isCut ? cutAgain(file, plan, block, stored) : stored;
      });
    }
  }
}

function cutAgain(file: TsmFile, plan: KeyPlan, block: SettledBlock, stored: Buffer): Buffer {
  const again = cutBlock(file, plan, block.from, stored);
  if (again.length !== block.length || again.first !== block.first || again.last !== block.last) {
    throw new TidemarkError("retry", "file-changed", `${file.source.name} changed while it was rewritten`, { object: file.source.name });
  }
  return again.stored;
}

/** The index and the footer. */
async function* indexOf(file: TsmFile, removal: Removal, cuts: CutLog): AsyncGenerator<readonly Buffer[]> {
  const cursor = { at: 0 };
  let offset = HEADER.length;
  for await (const plans of plansOf(file, removal)) {
    yield plans.flatMap((plan) => {
      const blocks = settled(plan, cuts, cursor).map(({ first, last, length }) => {
        offset += length;
        return { first, last, length, offset: offset - length };
      });
      return blocks.length === 0 ? [] : [indexKey(plan.key, plan.type, blocks)];
    });
  }
  yield [footer(offset)];
}
