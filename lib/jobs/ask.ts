// Asks for a capture of every shard that is due, where others do the work. What was asked for is noted, and is not asked for
// again while it may still wait its turn: a backlog does not grow by a message a minute. The shards stream through: what is
// held is bounded by how many are read and asked for at once, and by a table's `capturesTogetherMax` where that binds.

import { ASK_TOGETHER, ASKS_AT_ONCE } from "../model/limits.ts";
import type { ShardId } from "../model/names.ts";
import type { Table } from "../model/table.ts";
import { isUnderWay, type Turns, turns } from "../planner/turns.ts";
import type { ItemWorld } from "../ports/world.ts";
import { publishAsked, publishDue } from "../redo-log/tail.ts";
import { lanes } from "./lanes.ts";
import { type OnFault, plan, type PlannedShard } from "./plan.ts";
import { type TableTally, tally } from "./tally.ts";

/** Hands over captures to others, at most ASK_TOGETHER at a time; tells which were taken. */
export type Ask = (shards: readonly ShardId[]) => Promise<readonly ShardId[]>;

export interface AskReport {
  readonly dirty: number;
  readonly due: number;
  /** Shards whose capture was asked for now. */
  readonly asked: number;
  /** Due, but for now enough captures of their table are under way. */
  readonly held: number;
  /** By names, those with dirty shards. */
  readonly tables: ReadonlyMap<string, TableTally>;
}

export async function askForCaptures(world: ItemWorld, ask: Ask, onFault?: OnFault): Promise<AskReport> {
  const { clock, checkpoints } = world;
  const nowMs = clock.now();
  const tallied = tally(nowMs);
  const work = lanes(ASKS_AT_ONCE);
  let going: PlannedShard[] = [];
  let asked = 0;
  let held = 0;
  let capped: { readonly table: string; readonly turns: Turns<PlannedShard> } | undefined;
  try {
    for await (const shard of plan(world, onFault === undefined ? {} : { onFault })) {
      if (capped !== undefined && capped.table !== shard.id.table) await endTurns();
      await take(shard);
    }
    await endTurns();
    await send();
  } finally {
    await work.end();
  }
  return { ...tallied.report(), asked, held };

  async function take(shard: PlannedShard): Promise<void> {
    tallied.add(shard);
    if (shard.qualification.kind !== "qualifies") return;
    if (canBind(shard.table)) capped ??= { table: shard.id.table, turns: turns(shard.table.capturesTogetherMax) };
    if (isUnderWay(shard.hint, nowMs)) capped?.turns.underWay();
    else if (capped === undefined) await go(shard);
    else await hold(capped.turns.offer(shard));
  }

  async function endTurns(): Promise<void> {
    const ended = capped?.turns.end();
    capped = undefined;
    for (const shard of ended?.go ?? []) await go(shard);
    for (const shard of ended?.wait ?? []) await hold(shard);
  }

  async function go(shard: PlannedShard): Promise<void> {
    going.push(shard);
    if (going.length === ASK_TOGETHER) await send();
  }

  async function send(): Promise<void> {
    const some = going;
    going = [];
    if (some.length === 0) return;
    await work.begin(async () => {
      const taken = await ask(some.map(({ id }) => id));
      // Asked first, noted after: killed in between, the shard is asked for twice, and the second capture finds nothing new.
      const noted = some.filter(({ id }) => taken.includes(id));
      await Promise.all(noted.map(({ id, hint }) => publishAsked(checkpoints, id, hint, nowMs)));
      asked += taken.length;
    });
  }

  /** Noted once, so that its turn comes, and the lag is told. */
  async function hold(shard: PlannedShard | undefined): Promise<void> {
    if (shard === undefined) return;
    held += 1;
    if (shard.hint.dueSinceMs === undefined) await work.begin(() => publishDue(checkpoints, shard.id, shard.hint, nowMs));
  }
}

function canBind({ shards, capturesTogetherMax }: Table): boolean {
  return capturesTogetherMax < shards;
}
