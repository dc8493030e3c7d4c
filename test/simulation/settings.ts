// What a schedule is made of, as data, drawn from its seed: the table's policy, the processes, and how likely each fault is.

import type { ValueCodec } from "../../lib/model/mutation.ts";
import { type TablePolicy, POLICY_DEFAULTS } from "../../lib/model/table.ts";
import type { Random } from "../../lib/ports/random.ts";
import { SNAPSHOT_SIZES, type SnapshotSizes } from "../../lib/snapshot/sizes.ts";

export interface Settings {
  readonly policy: TablePolicy;
  readonly codec: ValueCodec;
  readonly steps: number;
  readonly writers: number;
  readonly producers: number;
  /** Clients that send batches without a producer's mark. */
  readonly strangers: number;
  readonly captures: number;
  readonly cleaners: number;
  readonly readers: number;
  /** Whether readers mostly pin the oldest state that is kept, and cleanup meets them. */
  readonly pins: boolean;
  /** Whether the table is deleted, and made again. */
  readonly deletes: boolean;
  /** Shards of the table; beside the first, only a client that writes to all of them and those who keep the table know them. */
  readonly shards: number;
  /** Who plan, and carry out what is planned. */
  readonly keepers: number;
  /** Jobs of a source, whose table it then is. */
  readonly gatherers: number;
  readonly batchesMax: number;
  /** Keys beside the few that everybody writes to, and mutations that a batch has at most. */
  readonly moreKeys: number;
  readonly mutationsMax: number;
  readonly lingerMs: number;
  /** How snapshots are cut; captures that differ in it do not adopt each other's. */
  readonly sizes: readonly SnapshotSizes[];
  readonly foldBytesMax: number;
  readonly logBytesMax: number;
  /** Time that a capture is told it has: it cuts its log where reading takes a third of that. */
  readonly timeMs: number;
  /** Sections that a capture is cut into. */
  readonly sections: number;
  /** Likelihood that the process which ran last runs on. */
  readonly burst: number;
  /** Likelihood of each fault, a step. */
  readonly crash: number;
  readonly failed: number;
  readonly lost: number;
  readonly late: number;
  readonly twice: number;
  readonly stall: number;
  readonly clockJump: number;
  /** Likelihood that the object store has no room for a while. */
  readonly full: number;
  /** Likelihood that the stores give nobody an answer for a while. */
  readonly away: number;
  /** Likelihood that the bytes of an answer are damaged on their way. */
  readonly misread: number;
  /** Likelihood that one snapshot is damaged as soon as two generations are there. */
  readonly damage: number;
  /** Likelihood that redo files are damaged, for a while. */
  readonly redoDamage: number;
  /** Likelihood that something is tried on a copy of the stores (operations.ts). */
  readonly operation: number;
}

export const STEPS_MIN = 70;

/** A few row groups for a handful of keys, most of which the store can copy; or parts of many row groups. */
const TINY: SnapshotSizes = { pageRows: 1, groupBytes: 200, partBytes: 600, partBytesMin: 200, copyBytes: 500 };
const SMALL: SnapshotSizes = { pageRows: 2, groupBytes: 350, partBytes: 1_000, partBytesMin: 500, copyBytes: 1_000 };
/** Parts as TINY cuts them, of row groups that hold several rows: who goes on with the other's capture sends other bytes. */
const COARSE: SnapshotSizes = { ...TINY, pageRows: 4, groupBytes: 2_000 };

export function drawSettings(random: Random): Settings {
  const whole = (min: number, max: number): number => min + Math.floor(random.fraction() * (max - min + 1));
  const oneOf = <T>(...choices: readonly T[]): T => choices[whole(0, choices.length - 1)];
  const settings: Settings = {
    policy: {
      ...POLICY_DEFAULTS,
      keepSnapshots: oneOf(2, 2, 2, 3),
      compactionOverhead: oneOf(0, 0, 0, 1, 3, 7),
      keepForMs: oneOf(0, 0, 0, 0, 1_000, 60_000),
    },
    codec: oneOf(...Array<ValueCodec>(9).fill("json"), "bytes"),
    steps: STEPS_MIN + whole(0, 100),
    writers: oneOf(1, 2, 2, 3),
    producers: whole(1, 2),
    strangers: whole(0, 1),
    captures: oneOf(1, 1, 2),
    cleaners: oneOf(1, 1, 1, 2),
    readers: oneOf(0, 0, 1, 2),
    pins: false,
    deletes: false,
    shards: 1,
    keepers: 0,
    gatherers: 0,
    batchesMax: whole(4, 10),
    moreKeys: 0,
    mutationsMax: 3,
    lingerMs: oneOf(0, 0, 50),
    sizes: oneOf([SMALL], [SMALL], [TINY], [TINY], [TINY, COARSE], [SNAPSHOT_SIZES]),
    foldBytesMax: oneOf(1, 15_000, 1 << 20),
    logBytesMax: oneOf(1, 200, 1 << 20),
    timeMs: oneOf(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 100, 1_000),
    sections: oneOf(1, 1, 2, 3),
    burst: oneOf(0, 0.7, 0.9, 0.95),
    crash: oneOf(0, 0, 0.005, 0.01),
    failed: oneOf(0, 0, 0.01, 0.03),
    lost: oneOf(0, 0, 0.01, 0.04),
    late: oneOf(0, 0, 0.01, 0.03),
    twice: oneOf(0, 0, 0.01, 0.03),
    stall: oneOf(0, 0.02, 0.05),
    clockJump: oneOf(0, 0.005, 0.02),
    full: oneOf(0, 0, 0, 0.005),
    misread: oneOf(0, 0, 0, 0.01),
    damage: oneOf(0, 0, 0, 0.02),
    redoDamage: oneOf(0, 0, 0, 0.02),
    operation: oneOf(0, 0, 0, 0, 0, 0, 0, 0.005),
    away: oneOf(0, 0, 0, 0, 0, 0.005),
  };
  const kind = random.fraction();
  if (kind < GHOSTLY) return { ...settings, ...ghostly(settings), steps: settings.steps + MORE_STEPS };
  if (kind < GHOSTLY + SECTIONAL) return { ...settings, ...sectional(settings), steps: settings.steps + MORE_STEPS };
  if (kind < GHOSTLY + SECTIONAL + WIDE) return { ...settings, moreKeys: 80, mutationsMax: 40 };
  if (kind < GHOSTLY + SECTIONAL + WIDE + REBORN) return { ...settings, ...reborn(settings) };
  if (kind < GHOSTLY + SECTIONAL + WIDE + REBORN + PINNED) return { ...settings, ...pinned(settings, oneOf(0, 4, 8)), steps: settings.steps + MORE_STEPS };
  if (kind < GHOSTLY + SECTIONAL + WIDE + REBORN + PINNED + SOURCED) return { ...settings, ...sourced(settings), steps: settings.steps + 2 * MORE_STEPS };
  if (kind < GHOSTLY + SECTIONAL + WIDE + REBORN + PINNED + SOURCED + KEPT)
    return { ...settings, ...kept(settings, oneOf), steps: settings.steps + MORE_STEPS };
  return settings;
}

/** Nothing happens by chance, and nobody is on the stage: for schedules that are not drawn. */
export function calmSettings(policy: TablePolicy): Settings {
  const nobody = {
    writers: 0,
    producers: 0,
    strangers: 0,
    captures: 0,
    cleaners: 0,
    readers: 0,
    pins: false,
    deletes: false,
    shards: 1,
    keepers: 0,
    gatherers: 0,
    batchesMax: 0,
    moreKeys: 0,
    mutationsMax: 3,
    steps: 0,
  };
  const noFault = {
    crash: 0,
    failed: 0,
    lost: 0,
    late: 0,
    twice: 0,
    stall: 0,
    clockJump: 0,
    full: 0,
    away: 0,
    misread: 0,
    damage: 0,
    redoDamage: 0,
    operation: 0,
  };
  return {
    policy,
    codec: "json",
    ...nobody,
    lingerMs: 0,
    sizes: [TINY],
    foldBytesMax: 1 << 20,
    logBytesMax: 1 << 20,
    timeMs: Number.POSITIVE_INFINITY,
    sections: 1,
    burst: 0,
    ...noFault,
  };
}

/** Share of the schedules that are made for ghosts. */
const GHOSTLY = 0.32;
/** Share of those that are made for captures by sections. */
const SECTIONAL = 0.1;
/** Share of those with more keys, so that sorting, folding and splicing have something to do. */
const WIDE = 0.05;
/** Share of those in which the table is deleted and made again. */
const REBORN = 0.06;
/** Share of those in which what is let go is pinned meanwhile. */
const PINNED = 0.05;
/** Share of those of a source's table, whose records have attachments. */
const SOURCED = 0.04;
/** Share of those that planners keep going, some of them with two shards. */
const KEPT = 0.06;
/** It takes two captures and a cleanup before a name is free again, and a capture before there is something to cut into sections. */
const MORE_STEPS = 200;

/** Few hands, few faults, and a writer that stalls while the others get so far that the name it claims is freed. */
function ghostly({ policy, captures }: Settings): Partial<Settings> {
  return {
    policy: { ...policy, keepSnapshots: 2, keepForMs: 0, compactionOverhead: 0 },
    writers: 3,
    producers: 3,
    captures,
    cleaners: 1,
    readers: captures === 1 ? 1 : 0,
    batchesMax: 8,
    lingerMs: 0,
    sizes: [SNAPSHOT_SIZES],
    burst: 0.9,
    failed: 0,
    lost: 0.005,
    late: 0.005,
    stall: 0.03,
  };
}

/** Several workers, and little else, so that sections are made side by side. */
function sectional({ sections }: Settings): Partial<Settings> {
  return {
    writers: 1,
    producers: 2,
    captures: 3,
    cleaners: 1,
    readers: 0,
    lingerMs: 0,
    sizes: [TINY],
    sections: Math.max(2, sections),
    burst: 0.7,
  };
}

/** Few faults, and clients that have something left for the second life; whoever stalls may wait for it. */
function reborn({ writers, captures }: Settings): Partial<Settings> {
  return {
    deletes: true,
    writers: Math.max(2, writers),
    producers: 2,
    captures: Math.min(2, captures),
    cleaners: 1,
    readers: 1,
    batchesMax: 8,
    lingerMs: 0,
    burst: 0.7,
    stall: 0.03,
    full: 0,
  };
}

/** Little log behind each generation, so that old ones are let go all the time while they are read. */
function pinned({ policy, writers }: Settings, compactionOverhead: number): Partial<Settings> {
  return {
    policy: { ...policy, keepSnapshots: 2, keepForMs: 0, compactionOverhead },
    pins: true,
    writers: Math.min(2, writers),
    captures: 1,
    cleaners: 2,
    readers: 2,
    lingerMs: 0,
    sizes: [SNAPSHOT_SIZES],
    sections: 1,
    batchesMax: 10,
    mutationsMax: 2,
    burst: 0.9,
    crash: 0,
    failed: 0,
    lost: 0.005,
    late: 0.005,
    twice: 0,
    stall: 0.03,
    clockJump: 0,
    full: 0,
    away: 0,
    damage: 0,
    redoDamage: 0,
  };
}

function sourced({ policy, captures }: Settings): Partial<Settings> {
  return {
    policy: { ...policy, compactionOverhead: 0, keepForMs: 0 },
    codec: "json",
    ...{ writers: 0, producers: 0, strangers: 0, gatherers: 2, captures, readers: 2 },
    sections: 1,
    burst: 0.9,
    operation: 0.003,
  };
}

/** Limits that are soon reached, so that there is something to plan. */
function kept({ policy }: Settings, oneOf: <T>(...choices: readonly T[]) => T): Partial<Settings> {
  const due = { captureAfterMutations: oneOf(1, 4, 1_000), captureAfterMs: oneOf(1_000, 5_000, 86_400_000), recoverWithinMs: oneOf(1_000, 60_000) };
  return {
    policy: { ...policy, ...due, capturesTogetherMax: oneOf(1, 1, 10_000) },
    shards: oneOf(1, 2, 2),
    keepers: oneOf(1, 2),
    ...{ writers: 1, producers: 1, captures: 1, cleaners: 1 },
  };
}
