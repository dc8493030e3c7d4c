// The end of every schedule: the faults stop, one process finishes all work, and what is left is compared with what must be.

import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { snapshotShard } from "../../lib/jobs/snapshot.ts";
import { LEASE_TTL_MS, PIN_TTL_MS } from "../../lib/model/limits.ts";
import type { Batch } from "../../lib/model/mutation.ts";
import { openWriterOf, sendOne, type Troupe, whole } from "./actors.ts";
import { tableStands } from "./owner.ts";
import { broken } from "./promises.ts";
import { readOnce } from "./readers.ts";
import type { Process } from "./stage.ts";

/** Writes a line of the log, if there is one. */
export type Say = (line: () => string) => void;

/** How far any clock is off at most. */
export const SKEW_MS_MAX = 90_000;

const ROUNDS_AT_REST_MAX = 8;

/** Everybody dies, what was on its way arrives or does not; then one process finishes all work, and nothing is left over. */
export async function comeToRest(troupe: Troupe, unanswered: readonly Batch[], say: Say): Promise<void> {
  const { stage, promises, settings, random } = troupe;
  for (const process of [...stage.processes]) stage.kill(process);
  for (const step of [...stage.late]) if (random.fraction() < 0.8) await stage.land(step);
  stage.nowMs += LEASE_TTL_MS + PIN_TTL_MS + SKEW_MS_MAX * 2;
  promises.damage.logHeals(stage.objects);
  promises.damage.forget();
  const process = stage.process("finisher");
  const alone = <T>(work: Promise<T>): Promise<T> => stage.finish(process, work);
  await alone(tableStands(troupe, process.world));
  const writer = openWriterOf(troupe, process);
  for (const batch of unanswered) {
    const reply = await alone(sendOne(troupe, writer, batch));
    if (reply.kind !== "appended") broken("I9", "a batch is not appended at rest");
  }
  for (let round = 0, before = ""; ; round++) {
    if (round === ROUNDS_AT_REST_MAX) broken("I7", `${ROUNDS_AT_REST_MAX} rounds of capture and cleanup do not come to rest`);
    const { outcome } = await alone(snapshotShard(process.world, { id: troupe.id, sizes: settings.sizes[0], sections: settings.sections }));
    await alone(cleanupShard(process.world, { id: troupe.id, policy: settings.policy }));
    const now = [...stage.objects.objects.keys(), ...stage.objects.uploads.keys(), promises.control?.stamp].join();
    say(() => `at rest, round ${round}: ${outcome.kind}`);
    if (now === before) break;
    before = now;
  }
  await promises.checkRest(stage.nowMs);
  for (const { log, timeMs, index } of troupe.finals) {
    if (log.stateAt({ timeMs }).index !== index) broken("I5", `${index} was said to be final for the time ${timeMs}`);
  }
  await recoverAll(troupe, process, alone);
}

/** One state that can be brought back, the newest for half of the seeds; all of them for some. */
async function recoverAll(troupe: Troupe, process: Process, alone: <T>(work: Promise<T>) => Promise<T>): Promise<void> {
  const { promises, random } = troupe;
  const last = promises.log.tail.next - 1;
  const from = promises.control?.lowWater === 1 ? 0 : Math.min(last, ...[...promises.rows.values()].map(({ index }) => index));
  const chance = random.fraction();
  const all = chance < ALL_INDEXES;
  if (all || chance < 0.5) await alone(readOnce(troupe, process, {}, false));
  if (!all && chance < 0.5) return;
  const indexes = all ? Array.from({ length: last - from + 1 }, (_, place) => from + place) : [whole(random, from, last)];
  for (const index of indexes) await alone(readOnce(troupe, process, { index }, false));
}

/** Share of the schedules at whose end every index is recovered. */
const ALL_INDEXES = 0.01;
