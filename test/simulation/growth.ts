// What takes a shard beyond the few small records of a schedule: large and many-shaped values, and a crowd of producers.

import { openWriter } from "../../lib/jobs/append.ts";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { getTable } from "../../lib/jobs/tables.ts";
import { SESSIONS_MAX } from "../../lib/model/limits.ts";
import type { Batch, Mutation } from "../../lib/model/mutation.ts";
import { toIndex } from "../../lib/model/position.ts";
import type { World } from "../../lib/ports/world.ts";
import { verifyShard } from "../../lib/recovery/verify.ts";
import { type Troupe, whole } from "./actors.ts";
import { type Copy, judge, NOTHING_DAMAGED } from "./copies.ts";
import { oneOf } from "./damage.ts";
import { broken } from "./promises.ts";
import { drawHotDocument, drawValue } from "./values.ts";

/** Large and many-shaped values, appended and captured on the copy by other sizes: each state is what the log says. */
export async function grows(troupe: Troupe, copy: Copy): Promise<boolean> {
  const { id, settings, random } = troupe;
  const { world } = copy;
  const table = await getTable(world, id.table);
  const writer = openWriter(world, { id, codec: settings.codec });
  const keys = whole(random, 1, 300);
  const [isHuge, isMany] = [random.fraction() < 0.06, random.fraction() < 0.06];
  const isHot = settings.codec === "json" && random.fraction() < 0.3;
  for (let round = whole(random, 1, 2); round > 0; round--) {
    const batches = Array.from(
      { length: whole(random, 1, 4) },
      (): Pick<Batch, "mutations"> => ({
        mutations: [
          ...Array.from({ length: isMany ? 1_500 : whole(random, 1, 60) }, (_, place): Mutation => {
            const key = Buffer.from(`large/${"k".repeat(whole(random, 0, 1) * whole(random, 0, 60))}${whole(random, 0, isMany ? 10_000 : keys)}`);
            const chance = random.fraction();
            if (chance < 0.1) return { kind: "delete", key };
            if (isHuge && place < 2) return { kind: "put", key, value: Buffer.alloc(whole(random, 400_000, 1_500_000), "1") };
            const value = drawValue(random, settings.codec, round);
            return { kind: chance < 0.3 && settings.codec === "json" ? "patch" : "put", key, value };
          }),
          ...(isHot ? drawHotDocument(random, Buffer.from("large/hot")) : []),
        ],
      }),
    );
    if (random.fraction() < 0.2) world.clock.advance(CENTURIES_MS);
    const outcomes = await Promise.all(batches.map((batch) => writer.append(batch)));
    for (const { kind } of outcomes) if (kind !== "appended") broken("I1", `a batch was answered ${kind}, though the shard lives on`);
    // Of many records some that are folded one by one, or lie in a row group each, take longer than they are worth.
    const sizes = isMany || random.fraction() < 0.5 ? undefined : oneOf(random, settings.sizes);
    const foldBytesMax = Math.max(settings.foldBytesMax, isMany ? oneOf(random, [200_000, 1 << 24]) : 15_000);
    const logBytesMax = isMany ? 1 << 20 : Math.max(settings.logBytesMax, 10_000);
    const { outcome } = await snapshotShard(world, { id, foldBytesMax, logBytesMax, sections: settings.sections, ...(sizes && { sizes }) });
    if (outcome.kind !== "completed" && outcome.kind !== "ignored" && outcome.kind !== "aborted") broken("I9", `a capture on a copy came out ${outcome.kind}`);
    if (random.fraction() < 0.5) await cleanupShard(world, { id, policy: table });
    if ((await judge(copy, troupe, NOTHING_DAMAGED)) !== "right") broken("I1", "the newest state is kept no longer");
  }
  await writer.close();
  await checkSound(troupe, world);
  return true;
}

/** Times of one page that lie as far apart as numbers can tell, and are too large for the quick way. */
const CENTURIES_MS = 200 * 365 * 86_400_000;

/** Verification finds nothing. */
async function checkSound({ id, settings }: Troupe, world: World): Promise<void> {
  const { findings } = await verifyShard(world, { id, codec: settings.codec });
  if (findings.length > 0) broken("I8", `verification finds ${findings[0].object} damaged: ${findings[0].what}`);
}

/** More producers than a shard remembers: the one that was forgotten is told so, whoever asks, and nothing of it applies again. */
export async function crowds(troupe: Troupe, { unwatched: world }: Copy): Promise<boolean> {
  const { id, settings } = troupe;
  const writer = openWriter(world, { id, codec: settings.codec });
  const batchOf = (producer: string, sequence: bigint, since?: number): Parameters<typeof writer.append>[0] => ({
    mutations: [{ kind: "put", key: Buffer.from(`crowd/${producer.slice(0, 2)}`), value: Buffer.from(`"${producer}"`) }],
    mark: { producer, sequence, ...(since !== undefined && { since: toIndex(since) }) },
  });
  const first = await writer.append(batchOf("early", 1n));
  if (first.kind !== "appended") broken("I1", `a batch was answered ${first.kind}, though the shard lives on`);
  await Promise.all(Array.from({ length: SESSIONS_MAX }, (_, place) => writer.append(batchOf(`${place}`, 1n))));
  await snapshotShard(world, { id });
  // From before its forgetting, through one that was there and one that was not.
  for (const through of [writer, openWriter(world, { id, codec: settings.codec })]) {
    const again = await through.append(batchOf("early", 1n, first.first));
    if (again.kind !== "forgotten") broken("I3", `a batch of a forgotten producer was answered ${again.kind}`);
  }
  const later = await writer.append(batchOf("early", 2n));
  if (later.kind !== "appended") broken("I3", `a new batch of a forgotten producer was answered ${later.kind}`);
  await checkSound(troupe, world);
  return true;
}
