// Who keeps a table going: planners that ask for captures, and those who carry out what was asked for, as functions and as the loop of
// one process do; who asks how a shard fares; and a client that writes to several shards at once.

import { tableWriter } from "../../lib/jobs/append.ts";
import { askForCaptures } from "../../lib/jobs/ask.ts";
import { planPass, runCleanupTask } from "../../lib/jobs/cleanup-pass.ts";
import { explainPlan } from "../../lib/jobs/explain.ts";
import { findRequest, requestCapture } from "../../lib/jobs/requests.ts";
import { ingest } from "../../lib/jobs/ingest.ts";
import { getEntry, recoverTable } from "../../lib/jobs/recover.ts";
import { runRound } from "../../lib/jobs/run.ts";
import { captureShard } from "../../lib/jobs/snapshot.ts";
import { shardStatus } from "../../lib/jobs/status.ts";
import { getTable } from "../../lib/jobs/tables.ts";
import { isTidemarkError } from "../../lib/model/errors.ts";
import type { Batch } from "../../lib/model/mutation.ts";
import { type ShardId, shardName } from "../../lib/model/names.ts";
import { shardOf } from "../../lib/model/table.ts";
import { drawBatch, expectReason, KEYS, type Troupe, whole } from "./actors.ts";
import { broken, type Promises } from "./promises.ts";
import type { Process } from "./stage.ts";
import { difference, rowDifference, rowsOf } from "./truth.ts";

/** The promises of each shard of the table, by its number. */
export type Kept = readonly Promises[];

export async function keeper(troupe: Troupe, process: Process, kept: Kept): Promise<void> {
  const { stage, random, count } = troupe;
  const asked: ShardId[] = [];
  const jobs: readonly (readonly [string, () => Promise<void>])[] = [
    ["captures asked for", () => plans(troupe, process, asked)],
    ["captures carried out", () => carriesOut(troupe, process, asked.shift())],
    ["rounds", () => playsRound(troupe, process)],
    ["status", () => asksStatus(troupe, process, kept)],
    ["explanations", () => explains(troupe, process)],
    ["requests", () => requests(troupe, process)],
    ["cleanup tasks", () => passes(troupe, process)],
    ["look-ups", () => looksUp(troupe, process, kept)],
    ["recoveries of tables", () => recoversAll(troupe, process, kept)],
  ];
  for (;;) {
    const [what, job] = jobs[asked.length > 0 && random.fraction() < 0.5 ? 1 : whole(random, 0, jobs.length - 1)];
    await stage.turn(process, what);
    try {
      await job();
      count(what);
    } catch (error) {
      expectReason(troupe, error);
    }
  }
}

/** A shard is asked for only where something waits, and is asked for once until its capture came. */
async function plans({ random, settings }: Troupe, { world }: Process, asked: ShardId[]): Promise<void> {
  const now: string[] = [];
  const report = await askForCaptures(world, async (shards) => {
    const taken = random.fraction() < 0.9 ? shards : shards.slice(1);
    now.push(...taken.map(shardName));
    asked.push(...taken);
    return taken;
  });
  const { dirty, due, held } = report;
  if (new Set(now).size < now.length) broken("I10", `one run of the planner asks twice for a shard: ${now}`);
  if (report.asked !== now.length || report.asked + held > due || due > dirty || dirty > settings.shards)
    broken("I10", `the planner says ${JSON.stringify({ ...report, tables: undefined })}, and asked for ${now}`);
  if (now.length > settings.policy.capturesTogetherMax) broken("I10", `the planner asks for ${now}, more than go together`);
}

async function carriesOut(troupe: Troupe, { world }: Process, id: ShardId | undefined): Promise<void> {
  if (id === undefined) return;
  const { next, outcome } = await captureShard(world, { id, sizes: troupe.settings.sizes[0] });
  troupe.count(`captures asked for ${outcome.kind}`);
  if (next === "cleanup") await runCleanupTask(world, { kind: "after", ...id }, new AbortController().signal);
}

async function playsRound(troupe: Troupe, { world }: Process): Promise<void> {
  const { random, promises, settings } = troupe;
  const { dirty, captured, failures } = await runRound(world, { cleanAll: random.fraction() < 0.5 });
  if (dirty > settings.shards || captured.length > dirty) broken("I10", `a round finds ${dirty} dirty shards, and captures ${captured.length}`);
  for (const { error } of failures) {
    const [, key] = /(\S+\/\S+) is (?:damaged|missing)/.exec(error) ?? [];
    if (key !== undefined && !promises.damage.mayBeNamed(key)) broken("I8", `false alarm of a round: ${error}`);
  }
}

/** What a shard's items say lies between what was, and what is. */
async function asksStatus(troupe: Troupe, { world }: Process, kept: Kept): Promise<void> {
  const { id, random, settings } = troupe;
  const shard = whole(random, 0, settings.shards - 1);
  const promises = kept[shard];
  const before = { checkpoint: promises.control?.checkpoint?.index ?? 0, lowWater: promises.control?.lowWater ?? 1, epoch: promises.control?.epoch ?? 0 };
  const status = await shardStatus(world, await getTable(world, id.table), shard);
  const { control, log } = promises;
  const is = (what: string, least: number, found: number, most: number): void => {
    if (found < least || found > most) broken("I4", `the status of shard ${shard} tells of ${what} ${found}, which lies outside of ${least} to ${most}`);
  };
  is("the tail", before.checkpoint, status.tail, log.tail.next - 1);
  is("the mark", before.lowWater, status.lowWater, control?.lowWater ?? 1);
  is("the epoch", before.epoch, status.epoch, control?.epoch ?? 0);
  is("the checkpoint", before.checkpoint, status.checkpoint?.index ?? 0, control?.checkpoint?.index ?? 0);
}

/** For people: it tells of no shard twice, and what goes is what the planner would ask for. */
async function explains({ settings, random, id }: Troupe, { world }: Process): Promise<void> {
  const shards = await explainPlan(world, random.fraction() < 0.5 ? {} : { table: id.table });
  if (new Set(shards.map((one) => shardName(one.id))).size < shards.length) broken("I10", "the plan tells of a shard twice");
  const going = shards.filter(({ decision }) => decision === "goes").length;
  if (going > settings.policy.capturesTogetherMax) broken("I10", `${going} captures would go, more than go together`);
}

/** What became of a request is what its job said. */
async function requests(troupe: Troupe, { world }: Process): Promise<void> {
  const { random, settings, id } = troupe;
  const asked = await requestCapture(world, { ...id, shard: whole(random, 0, settings.shards - 1) });
  if ((await findRequest(world, asked.id, asked.request)).state !== "pending") broken("I9", "a request that nobody serves is not pending");
  const { outcome, next } = await captureShard(world, { ...asked, sizes: settings.sizes[0] });
  const { state, outcome: told } = await findRequest(world, asked.id, asked.request);
  const isOver = next === "cleanup" || next === "nothing";
  if (state !== (isOver ? "done" : "running") || (isOver && told !== outcome.kind))
    broken("I9", `a request is ${state}, of outcome ${told}; its job came out ${outcome.kind}, and ${next} is next`);
}

async function passes(troupe: Troupe, { world }: Process): Promise<void> {
  const { random } = troupe;
  const soon = random.fraction() < 0.5 ? AbortSignal.abort() : new AbortController().signal;
  for (const task of await planPass(world)) {
    const { cleaned, failures } = await runCleanupTask(world, task, soon);
    for (const { report } of cleaned) if (report.unparseable.length > 0) broken("I7", `names were not understood: ${report.unparseable}`);
    for (const { error } of failures) expectReason(troupe, error);
  }
}

/** One record, of the shard that its key belongs to, as the log of that shard has it. */
async function looksUp({ id, random, stage }: Troupe, { world }: Process, kept: Kept): Promise<void> {
  const key = KEYS[whole(random, 0, KEYS.length - 1)];
  const at = random.fraction() < 0.5 ? {} : { timeMs: stage.nowMs - whole(random, 0, 500) };
  const found = await orUnkept(() => getEntry(world, { table: id.table, key, at }));
  if (found === undefined) return;
  const { log } = kept[found.id.shard];
  const state = log.stateAt({ index: found.view.index });
  const expected = state.rows.get(key);
  const wrong =
    found.kind === "absent"
      ? expected && "it is absent"
      : rowDifference(expected && [key, expected], [key, { ...found.entry, value: found.entry.value.toString() }]);
  if (state.index !== found.view.index || wrong !== undefined) broken("I5", `the record of ${key} at ${found.view.index}: ${wrong}`);
}

/** All shards of a table, each as its own log has it. */
async function recoversAll({ id, random, stage }: Troupe, { world }: Process, kept: Kept): Promise<void> {
  const at = random.fraction() < 0.5 ? {} : { timeMs: stage.nowMs - whole(random, 0, 500) };
  const { shards, shardCount } = await recoverTable(world, { table: id.table, at });
  let count = 0;
  await orUnkept(async () => {
    for await (const { id: of, view } of shards()) {
      const wrong = difference(await rowsOf(view.rows()), kept[of.shard].log.stateAt({ index: view.index }));
      if (wrong !== undefined) broken("I5", `shard ${of.shard} at ${view.index} differs from the replay: ${wrong}`);
      count += 1;
    }
    if (count !== shardCount) broken("I5", `${count} shards of ${shardCount} were recovered`);
  });
}

/** Nothing where a time is asked for that is kept no longer. */
async function orUnkept<Answer>(work: () => Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!isTidemarkError(error) || error.code !== "out-of-range") throw error;
    return undefined;
  }
}

/** A producer whose batches go to several shards: a share of each is in its shard's log, once, behind one answer. It may die, and goes on. */
export function broadClient(troupe: Troupe, kept: Kept): (process: Process) => Promise<void> {
  const { stage, settings, random, id, count } = troupe;
  let open: Batch | undefined;
  let sequence = 0;
  return async (process) => {
    const endpoint = ingest(process.world);
    while (sequence < settings.batchesMax || open !== undefined) {
      await stage.turn(process, "send broadly");
      if (open === undefined) sequence += 1;
      const batch: Batch = open ?? drawBatch(random, { ...settings, mutationsMax: 6 }, "broad", sequence);
      open = batch;
      try {
        // By another writer each time, none of which has a batch in doubt; or by one that is kept, as a function keeps it.
        if (random.fraction() < 0.5) {
          const writer = tableWriter(process.world, await getTable(process.world, id.table));
          for (const { shard, outcome } of await writer.append(batch)) {
            if (outcome.kind !== "appended") broken("I1", `a batch was answered ${outcome.kind}, though the shard lives on`);
            const mutations = batch.mutations.filter(({ key }) => shardOf(key, settings.shards) === shard);
            kept[shard].acknowledged({ mutations, ...(batch.mark && { mark: batch.mark }) }, outcome);
          }
          await writer.close();
        } else {
          const [shares] = await (await endpoint.open(id.table)).append([batch]);
          for (const { shard, last } of shares) {
            const mutations = batch.mutations.filter(({ key }) => shardOf(key, settings.shards) === shard);
            const first = last - mutations.length + 1;
            kept[shard].acknowledged(
              { mutations, ...(batch.mark && { mark: batch.mark }) },
              { first, last, timeMs: kept[shard].log.stateAt({ index: last }).timeMs },
            );
          }
        }
        open = undefined;
        count("batches over several shards");
      } catch (error) {
        expectReason(troupe, error);
      }
    }
  };
}
