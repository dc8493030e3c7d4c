// Jobs that gather batches with attachments for a table of a source: they store the objects, then append the batch that names
// them, under a sequence that only one of them gets; and who reads what a held state names.

import { attach, type Content, FRAME_BYTES } from "../../lib/attachments/attach.ts";
import { attachmentReader, readAttachment } from "../../lib/attachments/read.ts";
import { openShard } from "../../lib/checkpoint/control.ts";
import { noteItem } from "../../lib/checkpoint/items.ts";
import { openWriter } from "../../lib/jobs/append.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import type { Mutation } from "../../lib/model/mutation.ts";
import { attachmentReference, incarnationPrefix } from "../../lib/model/names.ts";
import { keyOfRow, type Rows } from "../../lib/model/rows.ts";
import type { Random } from "../../lib/ports/random.ts";
import type { World } from "../../lib/ports/world.ts";
import { recover } from "../../lib/recovery/recover.ts";
import { lastSequence } from "../../lib/recovery/sessions.ts";
import { expectReason, KEYS, type Troupe, whole } from "./actors.ts";
import { PRODUCER } from "./attached.ts";
import { broken } from "./promises.ts";
import type { Process } from "./stage.ts";

export async function gatherer(troupe: Troupe, process: Process): Promise<void> {
  for (;;) {
    await troupe.stage.turn(process, "gather");
    try {
      await gather(troupe, process);
    } catch (error) {
      expectReason(troupe, error);
    }
  }
}

async function gather(troupe: Troupe, { world }: Process): Promise<void> {
  const { id, random, promises, count } = troupe;
  const { incarnation } = await openShard(world, id, world.clock.now());
  const prefix = incarnationPrefix(id, incarnation);
  // In this order: where another one's batch comes in between, the sequence is taken, and this batch changes nothing.
  const sequence = Number((await lastSequence(world, id, PRODUCER, world.clock.now())) ?? 0n) + 1;
  const known = await valuesOf(troupe, { world });
  const mutations: Mutation[] = [];
  for (const name of KEYS.slice(0, 4)) {
    const key = Buffer.from(name);
    const chance = random.fraction();
    if (chance < 0.3) continue;
    if (chance < 0.4) mutations.push({ kind: "delete", key });
    else if (chance < 0.5 && known.length > 0) mutations.push({ kind: "put", key, value: known[whole(random, 0, known.length - 1)] });
    else mutations.push({ kind: "put", key, value: await stored(troupe, world, { prefix, sequence, name }) });
  }
  if (mutations.length === 0) return;
  // One that nobody fills.
  if (random.fraction() < 0.1) await world.objects.createUpload(`${prefix}${attachmentReference(sequence, "large")}`);
  const batch = { mutations, mark: { producer: PRODUCER, sequence: BigInt(sequence) } };
  const outcome = await openWriter(world, { id, codec: "json", incarnation }).append(batch);
  if (outcome.kind !== "appended") broken("I1", `a batch was answered ${outcome.kind}, though the shard lives on`);
  promises.acknowledged({ mutations, mark: { ...batch.mark, since: outcome.first } }, outcome);
  count("batches with attachments");
}

/** Stores an attachment under a name that was never used, and notes it; the value that names it. */
async function stored(
  { id, random }: Troupe,
  world: World,
  { prefix, sequence, name }: { readonly prefix: string; readonly sequence: number; readonly name: string },
): Promise<Buffer> {
  const chance = random.fraction();
  const bytes = chance < 0.01 ? LARGE : chance < 0.05 ? FRAME_BYTES + whole(random, -1, 1_000) : chance < 0.1 ? 0 : whole(random, 0, 300);
  const seed = whole(random, 1, 1_000);
  const object = attachmentReference(sequence, `${KEYS.indexOf(name)}/${random.id(16)}`);
  const content = await attach(world, `${prefix}${object}`, pieces(seed, bytes));
  await world.checkpoints.write([{ item: noteItem(id, sequence, `file/${KEYS.indexOf(name)}`), when: [], put: { formatVersion: 1, prefix, object } }]);
  return Buffer.from(JSON.stringify({ object, seed, content }));
}

/** Of more than one part, as stored. */
const LARGE = 6 * 1024 * 1024;
const NOISE = noise();

function noise(): Buffer {
  const bytes = Buffer.alloc(LARGE);
  for (let at = 0, word = 1; at + 4 <= LARGE; at += 4) {
    word = (Math.imul(word, 1_664_525) + 1_013_904_223) >>> 0;
    bytes.writeUInt32LE((word ^ (word >>> 15)) >>> 0, at);
  }
  return bytes;
}

function contentOf(seed: number, bytes: number): Buffer {
  return bytes < LARGE ? Buffer.alloc(bytes, `content ${seed} `) : NOISE;
}

function* pieces(seed: number, bytes: number): Generator<Buffer> {
  const all = contentOf(seed, bytes);
  for (let at = 0; at < bytes; at += 700_000) yield all.subarray(at, at + 700_000);
}

/** Values of the newest state. */
async function valuesOf({ id }: Troupe, { world }: Pick<Process, "world">): Promise<readonly Buffer[]> {
  const view = await recover(world, { id, codec: "json" });
  const values: Buffer[] = [];
  for await (const rows of view.rows()) for (let row = 0; row < rows.count; row++) values.push(Buffer.from(valueOfRow(rows, row)));
  return values;
}

function valueOfRow({ values, valueEnds }: Rows, row: number): Buffer {
  return values.subarray(row === 0 ? 0 : valueEnds[row - 1], valueEnds[row]);
}

interface Named {
  readonly object: string;
  readonly seed: number;
  readonly content: Content;
}

/** What a held state names can be read, and is what was stored. */
export async function readsAttachments(troupe: Troupe, { world }: Process): Promise<void> {
  const { id, random, promises, count } = troupe;
  try {
    const view = await recover(world, { id, codec: "json", pinned: true });
    for await (const rows of view.rows()) {
      for (let row = 0; row < rows.count; row++) {
        const value = valueOfRow(rows, row).toString();
        const key = `${incarnationPrefix(id, promises.control?.incarnation ?? "")}${(JSON.parse(value) as Named).object}`;
        try {
          await readNamed(world, random, { key, value });
        } catch (error) {
          if (!isTidemarkError(error) || error.code !== "missing-object") throw error;
          if (await view.keep()) broken("I6", `${key} is gone, and ${keyOfRow(rows, row).toString()} of the held state at ${view.index} names it`);
          count("attachments let go of under a reader");
          continue;
        }
        count("attachments read");
      }
    }
    await view.close();
  } catch (error) {
    expectReason(troupe, error);
  }
}

/** Whole, or some stretches of it, as the value that names it says. */
export async function readNamed(world: World, random: Random, { key, value }: { readonly key: string; readonly value: string }): Promise<void> {
  const { seed, content } = JSON.parse(value) as Named;
  const expected = contentOf(seed, content.bytes);
  // Stretches are held against zstd's own checksums alone.
  if (random.fraction() < 0.4 && content.bytes > 0) {
    const read = attachmentReader(world, key, content);
    for (let times = 2; times > 0; times--) {
      const offset = Math.floor(random.fraction() * content.bytes);
      const length = 1 + Math.floor(random.fraction() * 2 * FRAME_BYTES);
      const found = await read(offset, length);
      if (!found.equals(expected.subarray(offset, offset + length))) broken("I8", `${length} bytes of ${key} at ${offset} are not what they were`);
    }
    return;
  }
  const read: Buffer[] = [];
  for await (const piece of readAttachment(world, key, content)) read.push(Buffer.from(piece));
  if (!Buffer.concat(read).equals(expected)) broken("I8", `${key} is not what it was`);
}
