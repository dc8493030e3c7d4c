// The promises, checked against what the stores hold: after every effect for what that effect can have broken, and whole
// at rest. The stores are read beside the schedule, so that checking changes nothing.

import { HISTORY_SORT, controlItem, parseControl, parseHistoryRow, parseTable, shardPartition, tableItem } from "../../lib/checkpoint/items.ts";
import type { Control, HistoryRow } from "../../lib/model/control.ts";
import type { Batch } from "../../lib/model/mutation.ts";
import { incarnationPrefix, parseObjectName, redoKey, type ShardId, shardName } from "../../lib/model/names.ts";
import type { Index } from "../../lib/model/position.ts";
import type { Rows } from "../../lib/model/rows.ts";
import type { TablePolicy } from "../../lib/model/table.ts";
import type { Item, ItemChange } from "../../lib/ports/checkpoint-store.ts";
import type { Upload } from "../../lib/ports/object-store.ts";
import { decodeRedoFile } from "../../lib/redo-log/codec.ts";
import { openSnapshot } from "../../lib/snapshot/read.ts";
import { isAttached, wrongAtRest, wrongDeletion, wrongEnd } from "./attached.ts";
import { type Damage, noDamage } from "./damage.ts";
import { isMeantForIt, type SeenLives } from "./lives.ts";
import type { Effect, Process, Stage, Step } from "./stage.ts";
import { difference, trueLog, type TrueLog } from "./truth.ts";

export class BrokenPromise extends Error {
  override readonly name = "BrokenPromise";
}

/** `promise`: its number, I1 to I9. */
export function broken(promise: string, what: string): never {
  throw new BrokenPromise(`${promise}: ${what}`);
}

/** What a schedule met that promises rest on. */
export type Met = Record<
  "ghosts" | "commits" | "adoptions" | "fences" | "leases lost" | "marks" | "lettingsGo" | "deletions" | "lives ended" | "strays",
  number
>;

export interface Promises {
  /** That of the life that is, or of the next one; each life has its own. */
  readonly log: TrueLog;
  readonly met: Met;
  readonly control: Control | undefined;
  /** History rows by sort key. */
  readonly rows: ReadonlyMap<string, HistoryRow>;
  readonly damage: Damage;
  /** Index that the last acknowledged batch ends at. */
  readonly acknowledgedLast: number;
  observe(effect: Effect): Promise<void>;
  /** A writer says that the batch lies at `first`, of the life that it saw last. */
  acknowledged(batch: Batch, outcome: { readonly first: number; readonly last: number; readonly timeMs: number }, seen?: SeenLives): void;
  /** Keys of the redo files of the true log at or above the mark. */
  redoKeys(): readonly string[];
  /** The redo files that must be there: those of the true log at or above the mark. */
  checkLog(): void;
  /** I7: nothing but what checkpoint, retention and pins justify. */
  checkRest(nowMs: number): Promise<void>;
}

export interface PromisesOptions {
  readonly id: ShardId;
  readonly policy: TablePolicy;
  readonly stage: () => Stage;
}

export function promises({ id, policy, stage }: PromisesOptions): Promises {
  let log = trueLog();
  const damage = noDamage();
  const met: Met = { ghosts: 0, commits: 0, adoptions: 0, fences: 0, "leases lost": 0, marks: 0, lettingsGo: 0, deletions: 0, "lives ended": 0, strays: 0 };
  let control: Control | undefined;
  let controlSeen: Item | undefined;
  let holder: Process | undefined;
  /** Under it the sections of a capture are made, and the last of them ends it, by anyone; even where one who came late gave it up meanwhile. */
  let epochOfSections: number | undefined;
  /** What each snapshot is made of, by the records of captures. */
  const bases = new Map<string, string | undefined>();
  let rows = new Map<string, HistoryRow>();
  /** Keys of all snapshots that were ever committed as verified; one that is found damaged is doubted from then on. */
  const everVerified = new Set<string>();
  let acknowledgedLast = 0;
  const pastLives: string[] = [];
  /** The step that asked for the table. */
  let madeBy = 0;
  /** The life that first acknowledged a batch, by its log. */
  const takenBy = new Map<Batch, TrueLog>();
  /** The furthest time that any clock can have shown. */
  let latestMs = 0;

  const self: Promises = {
    get log() {
      return log;
    },
    met,
    damage,
    get control() {
      return control;
    },
    get rows() {
      return rows;
    },
    get acknowledgedLast() {
      return acknowledgedLast;
    },
    async observe({ step, outcome }) {
      latestMs = Math.max(latestMs, stage().nowMs + step.process.skewMs);
      if (!isOfShard(step)) return;
      const { kind } = (outcome ?? {}) as { readonly kind?: string };
      if (step.method === "createIfAbsent" && kind === "created") created(step.args[0] as string, step.process);
      if (step.method === "deleteMany") for (const key of step.args[0] as readonly string[]) deleted(key);
      if (step.method === "abortUpload") aborted(step.args[0] as Upload);
      if (step.method === "write" && kind === "written") await written(step.args[0] as readonly ItemChange[], step);
    },
    acknowledged(batch, { first, last, timeMs }, seen) {
      const what = `the batch acknowledged at ${first}…${last}`;
      if (seen !== undefined && !isMeantForIt(seen, batch)) broken("I1", `${what} was meant for another life of the shard`);
      const of = seen?.last?.log ?? log;
      if (!of.holds(batch, first)) broken("I1", `${what} is not in the log`);
      const state = of.stateAt({ index: last });
      if (state.index !== last || state.timeMs !== timeMs) broken("I1", `${what} with time ${timeMs} ends at ${state.index} with time ${state.timeMs}`);
      const times = batch.mark === undefined ? 1 : of.applied(batch.mark.producer, batch.mark.sequence);
      // A writer may ask for one again that an earlier life took: in this one its producer may be past it.
      const isOfBefore = (takenBy.get(batch) ?? of) !== of;
      if (times !== 1 && !(isOfBefore && times === 0)) broken("I3", `${what} was applied ${times} times`);
      if (!isOfBefore) takenBy.set(batch, of);
      if (of === log) acknowledgedLast = Math.max(acknowledgedLast, last);
    },
    redoKeys,
    checkLog() {
      if (control === undefined) return;
      const prefix = incarnationPrefix(id, control.incarnation);
      for (const { first, body } of log.files) {
        if (first < control.lowWater) continue;
        const stored = stage().objects.objects.get(redoKey(prefix, first as Index));
        if (stored === undefined || !stored.equals(body)) broken("I6", `redo file ${first} is gone or changed, and the mark is ${control.lowWater}`);
      }
    },
    checkRest,
  };
  return self;

  function checkLetGo(judge: typeof wrongDeletion, key: string): void {
    const wrong = judge({ id, log, control, rows }, key);
    if (wrong !== undefined) broken("I6", wrong);
  }

  /** A call that names another shard's object is its own promises' to judge; items are looked at one by one. */
  function isOfShard({ method, args }: Effect["step"]): boolean {
    const prefix = `${shardName(id)}/`;
    if (method === "createIfAbsent") return (args[0] as string).startsWith(prefix);
    if (method === "deleteMany") return (args[0] as readonly string[]).every((key) => key.startsWith(prefix));
    return true;
  }

  function redoKeys(): readonly string[] {
    const { lowWater = 1, incarnation = "" } = control ?? {};
    return log.files.filter(({ first }) => first >= lowWater).map(({ first }) => redoKey(incarnationPrefix(id, incarnation), first as Index));
  }

  /** What an object's key names in the life that is; nothing where it is of another one. */
  function nameOf(key: string): ReturnType<typeof parseObjectName> | undefined {
    const prefix = control && incarnationPrefix(id, control.incarnation);
    return prefix !== undefined && key.startsWith(prefix) ? parseObjectName(key.slice(prefix.length)) : undefined;
  }

  function created(key: string, process: Process): void {
    if (isAttached(key)) return;
    const body = stage().objects.objects.get(key);
    const rest = nameOf(key);
    if (rest === undefined && pastLives.some((incarnation) => key.startsWith(incarnationPrefix(id, incarnation)))) {
      met.strays += 1;
      return;
    }
    if (control === undefined || body === undefined || rest?.kind !== "redo")
      broken("I2", `${process.name} created ${key} before there was a life to create it in`);
    const file = decodeRedoFile(body, key);
    if (rest.first < control.lowWater) {
      met.ghosts += 1;
      return;
    }
    const { next, digest, timeMs } = log.tail;
    if (rest.first !== next) broken("I2", `${process.name} created redo file ${rest.first}, but the log goes on at ${next}`);
    if (file.header.previousDigest !== digest) broken("I2", `redo file ${rest.first} does not continue the one before it`);
    if (file.header.batches[0].timeMs < timeMs) broken("I5", `the times of batches go back at redo file ${rest.first}`);
    log.extend(file, body);
  }

  function deleted(key: string): void {
    damage.deleted(key);
    const name = nameOf(key);
    if (control === undefined || name === undefined) return;
    if (name.kind === "redo" && name.first >= control.lowWater) broken("I6", `redo file ${name.first} was deleted, and the mark is ${control.lowWater}`);
    if (name.kind === "redo") met.lettingsGo += 1;
    for (const row of rows.values()) if (row.key === key && row.state === "kept") broken("I6", `${key} was deleted, and its row is kept`);
    if (control.capture?.key === key) broken("I6", `${key} was deleted, and a capture makes it`);
    if (name.kind === "attached") checkLetGo(wrongDeletion, key);
  }

  function aborted({ key, uploadId }: Upload): void {
    if (control?.capture?.key === key && control.capture.uploadId === uploadId) broken("I6", `the upload of ${key} was ended, and a capture fills it`);
    if (isAttached(key) && key.startsWith(`${shardName(id)}/`)) checkLetGo(wrongEnd, key);
  }

  async function written(changes: readonly ItemChange[], { process, number: asked }: Step): Promise<void> {
    const { checkpoints } = stage();
    tableWritten(changes, asked);
    const item = await checkpoints.get(controlItem(id));
    const before = { control, rows };
    if (item === undefined && before.control !== undefined) await lifeEnds(before.control, process);
    if (control !== undefined && item !== undefined && changes.some((change) => change.item.sort.startsWith(HISTORY_SORT))) {
      const page = await checkpoints.query({ partition: shardPartition(id), sortPrefix: HISTORY_SORT });
      rows = new Map(page.items.map((each) => [each.key.sort, parseHistoryRow(each)]));
      checkRows(before.rows);
    }
    if (item !== undefined && item !== controlSeen) {
      controlSeen = item;
      control = parseControl(item);
      if (control.capture?.sections !== undefined) epochOfSections = control.epoch;
      if (control.capture !== undefined) bases.set(control.capture.key, control.capture.base);
      if (before.control !== undefined) await checkControl(before.control, control, process);
    }
    if (rows !== before.rows || control !== before.control) checkRetention();
  }

  function tableWritten(changes: readonly ItemChange[], asked: number): void {
    const table = tableItem(id.table);
    const change = changes.find(({ item }) => item.partition === table.partition && item.sort === table.sort);
    if (change === undefined) return;
    if ("put" in change) madeBy = asked;
    if (!("set" in change) || change.set?.state !== "deleting") return;
    met.deletions += 1;
    if (asked < madeBy) broken("I1", "a deletion takes a table that was made after it was asked for");
  }

  /** The table is deleted: what comes behind that is of another life, and owes nothing to this one. */
  async function lifeEnds({ incarnation }: Control, process: Process): Promise<void> {
    const table = await stage().checkpoints.get(tableItem(id.table));
    if (table === undefined || parseTable(table).state !== "deleting") broken("I4", `${process.name} deleted the control item of a table that lives`);
    met["lives ended"] += 1;
    pastLives.push(incarnation);
    log = trueLog();
    control = undefined;
    controlSeen = undefined;
    holder = undefined;
    rows = new Map();
    acknowledgedLast = 0;
    everVerified.clear();
  }

  async function checkControl(before: Control, now: Control, process: Process): Promise<void> {
    if (now.incarnation !== before.incarnation) broken("I4", "the incarnation changed");
    const lowest = verifiedRows()[policy.keepSnapshots - 1];
    if (now.lowWater > before.lowWater && (lowest === undefined || now.lowWater > lowest.border.next))
      broken("I6", `the mark rises to ${now.lowWater}, above verified generation ${policy.keepSnapshots} from the newest`);
    if (now.epoch < before.epoch) broken("I4", `the epoch went back from ${before.epoch} to ${now.epoch}`);
    const works = holder?.live === true && holder !== process && holder.pending.some(({ method }) => method !== "turn");
    if (now.epoch > before.epoch && works) met["leases lost"] += 1;
    if (now.epoch > before.epoch) holder = process;
    if (now.epoch > before.epoch && now.lease === undefined) met.fences += 1;
    if (now.lowWater < before.lowWater) broken("I6", `the mark went back from ${before.lowWater} to ${now.lowWater}`);
    if (now.lowWater > before.lowWater) {
      met.marks += 1;
      const isBorder = log.files.some(({ first, border }) => first === now.lowWater || border.next === now.lowWater);
      if (!isBorder) broken("I6", `the mark ${now.lowWater} lies inside a redo file`);
    }
    if (now.checkpoint?.key === before.checkpoint?.key) return;
    await checkCommit(before, now, process);
  }

  async function checkCommit(before: Control, { checkpoint, epoch }: Control, process: Process): Promise<void> {
    const from = before.checkpoint?.index ?? 0;
    if (checkpoint === undefined || checkpoint.index <= from) broken("I4", `the checkpoint went from ${from} to ${checkpoint?.index}`);
    if (epoch !== before.epoch || (process !== holder && epoch !== epochOfSections))
      broken("I4", `${process.name} moved the checkpoint, but epoch ${before.epoch} is ${holder?.name}'s`);
    met.commits += 1;
    const row = [...rows.values()].find(({ key }) => key === checkpoint.key);
    if (row === undefined || row.state !== "kept") broken("I4", `no row stands for the snapshot ${checkpoint.key}`);
    checkRow(row, from);
    checkPassedOver(checkpoint.key, before.checkpoint);
    if (row.verified) everVerified.add(row.key);
    if (row.epoch < epoch) met.adoptions += 1;
    const state = log.stateAt({ index: checkpoint.index });
    const file = log.files.find(({ border }) => border.next === checkpoint.border.next);
    if (state.index !== checkpoint.index || file?.border.digest !== checkpoint.border.digest) {
      broken("I5", `the snapshot at ${checkpoint.index} does not end where a redo file of the log does`);
    }
    const opened = await openSnapshot({ store: stage().objects }, checkpoint);
    if (opened.kind === "absent") broken("I4", `the checkpoint names ${checkpoint.key}, which is absent`);
    const { description } = opened.snapshot;
    const found: Rows[] = [];
    for await (const page of opened.snapshot.rows()) found.push(page);
    const wrong = difference(found, state);
    if (wrong !== undefined) broken("I5", `the snapshot at ${checkpoint.index} differs from the replay: ${wrong}`);
    const sessions = description.sessions.map(({ producer, sequence }) => `${producer} ${sequence}`).sort();
    const expected = [...state.sessions].map(([producer, sequence]) => `${producer} ${sequence}`).sort();
    if (sessions.join() !== expected.join()) broken("I3", `the snapshot at ${checkpoint.index} knows the sessions ${sessions}, not ${expected}`);
  }

  /** What a row tells of its snapshot is told to users: the base that the lease's write showed is the one it counts from. */
  function checkRow({ key, mutations, index, epoch }: HistoryRow, from: number): void {
    if (mutations !== index - from) broken("I5", `the row of ${key} counts ${mutations} mutations, not the ${index - from} since the checkpoint before`);
    if (epoch > (control?.epoch ?? 0)) broken("I4", `${key} is of epoch ${epoch}, which is yet to come`);
  }

  /** A capture begins with the newest generation that it finds sound: those that are newer no longer count, or one damage more costs the head. */
  function checkPassedOver(made: string, checkpoint: Control["checkpoint"]): void {
    const base = [...rows.values()].find(({ key }) => key === bases.get(made));
    for (const row of verifiedRows()) {
      if (row.index > (base?.index ?? 0) && row.index <= (checkpoint?.index ?? 0)) broken("I6", `${row.key} was passed over, and still counts as verified`);
    }
  }

  function checkRows(before: ReadonlyMap<string, HistoryRow>): void {
    const { objects } = stage().objects;
    for (const [sort, was] of before) {
      const row = rows.get(sort);
      if (was.state === "deleting" && row?.state === "kept") broken("I6", `${was.key} was being let go, and is kept again`);
      if (was.state === "kept" && row === undefined) broken("I6", `the row of ${was.key} is gone, and was kept`);
      if (was.state === "kept" && row?.state === "deleting" && isHeld(was)) broken("I6", `${was.key} is let go, and is pinned`);
      if (was.state === "kept" && row?.state === "deleting" && verifiedRows().length < policy.keepSnapshots)
        broken("I6", `${was.key} is let go, and ${verifiedRows().length} verified generations are left of ${policy.keepSnapshots}`);
      if (!was.verified && row?.verified) broken("I6", `${was.key} was found damaged, and counts as verified again`);
    }
    for (const row of rows.values()) if (row.state === "kept" && !objects.has(row.key)) broken("I6", `${row.key} is gone, and its row is kept`);
  }

  /** Rules 17 and 20: the newest generations and their log, behind the overhead and all that is pinned. */
  function checkRetention(): void {
    if (control === undefined) return;
    const { checkpoint, lowWater } = control;
    const stood = newestFirst(({ key }) => everVerified.has(key));
    const kept = Math.min(policy.keepSnapshots, everVerified.size);
    if (stood.length < kept) broken("I6", `${stood.length} generations are left of ${kept}`);
    if (checkpoint !== undefined && stood[0]?.key !== checkpoint.key) broken("I6", "the checkpoint's own generation was let go");
    if (lowWater === 1) return;
    const oldest = stood[policy.keepSnapshots - 1];
    if (oldest === undefined || lowWater > oldest.border.next)
      broken("I6", `the mark ${lowWater} lies above generation ${policy.keepSnapshots} from the newest`);
    if (lowWater > Math.max(1, (checkpoint?.border.next ?? 1) - policy.compactionOverhead))
      broken("I6", `the mark ${lowWater} leaves less than the compaction overhead`);
    const windowStartMs = latestMs - policy.keepForMs;
    if (policy.keepForMs > 0 && !stood.some((row) => row.border.next >= lowWater && row.border.timeMs <= windowStartMs)) {
      broken("I6", `the mark ${lowWater} cuts into the kept window`);
    }
    for (const row of rows.values()) {
      if (row.state === "kept" && isHeld(row) && row.border.next < lowWater)
        broken("I6", `the mark ${lowWater} passed the log behind ${row.key}, which is pinned`);
    }
  }

  function newestFirst(which: (row: HistoryRow) => boolean): readonly HistoryRow[] {
    return [...rows.values()].filter((row) => row.state === "kept" && which(row)).sort((a, b) => b.index - a.index);
  }

  function verifiedRows(): readonly HistoryRow[] {
    return newestFirst(({ verified }) => verified);
  }

  /** Whether a pin holds by every clock; one that a clock may have seen lapse is for progress only (rule 21). */
  function isHeld(row: HistoryRow): boolean {
    return Object.values(row.pins).some((untilMs) => untilMs > latestMs);
  }

  async function checkRest(nowMs: number): Promise<void> {
    const { objects, checkpoints } = stage();
    const prefix = `${shardName(id)}/`;
    const own = [...objects.objects.keys()].filter((key) => key.startsWith(prefix)).sort();
    const uploads = [...objects.uploads.values()].map(({ key }) => key).filter((key) => key.startsWith(prefix));
    if (control === undefined) {
      if (own.length + uploads.length > 0) broken("I7", `the bucket holds ${[...own, ...uploads]} at rest, and no shard was opened`);
      return;
    }
    self.checkLog();
    if (control.capture !== undefined) broken("I7", "a capture is left at rest");
    if (control.lease !== undefined && control.lease.untilMs > nowMs) broken("I7", "a lease runs at rest");
    if ((control.checkpoint?.index ?? 0) !== log.tail.next - 1) broken("I9", `the checkpoint stays at ${control.checkpoint?.index} of ${log.tail.next - 1}`);
    const verified = verifiedRows();
    const byCount = verified[policy.keepSnapshots - 1];
    const byTime = policy.keepForMs === 0 ? byCount : verified.find(({ border }) => border.timeMs <= nowMs - policy.keepForMs);
    if (byCount !== undefined && byTime !== undefined) {
      const oldest = Math.min(byCount.index, byTime.index);
      for (const row of rows.values()) if (row.index < oldest || row.state === "deleting") broken("I7", `${row.key} is no longer needed`);
      const needed = Math.min(...[...rows.values()].map(({ border }) => border.next));
      const withOverhead = (control.checkpoint?.border.next ?? 1) - policy.compactionOverhead;
      const borders = [...log.files.map(({ first }) => first), log.tail.next].filter((border) => border <= Math.min(needed, withOverhead));
      if (control.lowWater !== Math.max(1, ...borders)) broken("I7", `the mark is ${control.lowWater} at rest, not ${Math.max(1, ...borders)}`);
    }
    const expected = [...redoKeys(), ...[...rows.values()].map(({ key }) => key)].sort();
    const stored = own.filter((key) => !isAttached(key));
    if (stored.join() !== expected.join()) broken("I7", `the bucket holds ${stored} at rest, not ${expected}`);
    const open = uploads.filter((key) => !isAttached(key));
    if (open.length > 0) broken("I7", `${open.length} uploads are open at rest`);
    const items = await checkpoints.query({ partition: shardPartition(id) });
    const sorts = items.items.map(({ key }) => key.sort).filter((sort) => !sort.startsWith(HISTORY_SORT));
    const dead = sorts.filter((sort) => sort !== "control" && sort !== "tail" && sort !== "job#snapshot" && !/^(note|request)#/.test(sort));
    if (dead.length > 0) broken("I7", `dead items are left at rest: ${dead}`);
    const attached = { keys: own, uploads: uploads.filter(isAttached), items: items.items, damaged: damage.snapshot };
    const { missing, left } = wrongAtRest({ id, log, control, rows }, attached);
    if (missing.length > 0) broken("I6", `${missing} are gone at rest, and a state that can be brought back names them`);
    if (left.length > 0) broken("I7", `${left} are left at rest, and nothing needs them`);
    const dirty = (await checkpoints.queryDirty({ value: "dirty" })).keys.filter(({ partition }) => partition === shardPartition(id));
    if (dirty.length > 0) broken("I7", "the shard is dirty at rest, though a capture holds everything");
  }
}
