// A shard on a stage, for tests that play one trace step by step: named processes, each stopped where the test says. The
// promises are checked behind every effect, so that a test also fails where it does not look.

import { seededRandom } from "../../lib/adapters/memory/random.ts";
import { openWriter } from "../../lib/jobs/append.ts";
import { cleanupShard } from "../../lib/jobs/cleanup.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import { LEASE_TTL_MS } from "../../lib/model/limits.ts";
import type { Mutation } from "../../lib/model/mutation.ts";
import { incarnationPrefix, redoKey, type ShardId } from "../../lib/model/names.ts";
import { toIndex } from "../../lib/model/position.ts";
import { POLICY_DEFAULTS, type TablePolicy } from "../../lib/model/table.ts";
import { recover, type RecoverRequest } from "../../lib/recovery/recover.ts";
import type { BatchOutcome, BatchRequest, Writer } from "../../lib/redo-log/writer.ts";
import { capture } from "../../lib/snapshot/capture.ts";
import type { CaptureOutcome } from "../../lib/snapshot/outcome.ts";
import { type Promises, promises as watch } from "../simulation/promises.ts";
import { type Process, type Stage, stage as openStage, type Step } from "../simulation/stage.ts";

export const ID: ShardId = { table: "t", shard: 0 };

export interface Scene {
  readonly stage: Stage;
  readonly promises: Promises;
  process(name: string): Process;
  /** A writer in a process of its own. */
  writer(name: string): Staged<Writer>;
  /** Appends with nobody else on the stage. */
  append(writer: Staged<Writer>, batch: BatchRequest): Promise<BatchOutcome>;
  /** Captures with nobody else on the stage. */
  capture(): Promise<CaptureOutcome>;
  clean(): Promise<void>;
  redoKey(first: number): string;
  read(at?: RecoverRequest["at"]): Promise<Reading>;
  /** All leases that were taken until now lapse. */
  leasesLapse(): void;
}

/** Something of the core, and the process that it runs in. */
export interface Staged<Part> {
  readonly process: Process;
  readonly part: Part;
}

export interface Reading {
  readonly index: number;
  readonly from: number;
  readonly values: Readonly<Record<string, unknown>>;
  readonly passedOver: readonly string[];
}

export async function scene(policy: Partial<TablePolicy> = {}): Promise<Scene> {
  const stage = openStage({ random: seededRandom(1), onEffect: (effect) => promises.observe(effect) });
  const settings = { ...POLICY_DEFAULTS, ...policy };
  const promises = watch({ id: ID, policy: settings, stage: () => stage });
  const alone = <T>(name: string, work: (process: Process) => Promise<T>): Promise<T> => {
    const process = stage.process(name);
    return stage.finish(process, work(process)).finally(() => stage.kill(process));
  };
  await alone("builder", ({ world }) => createTable(world, { name: ID.table, ...settings }));
  return {
    stage,
    promises,
    process: (name) => stage.process(name),
    writer(name) {
      const process = stage.process(name);
      return { process, part: openWriter(process.world, { id: ID, codec: "json" }) };
    },
    append: ({ process, part }, batch) => stage.finish(process, part.append(batch)),
    capture: () => alone("capture", ({ world }) => captureOf(world)),
    async clean() {
      await alone("cleaner", ({ world }) => cleanupShard(world, { id: ID, policy: settings }));
    },
    redoKey: (first) => redoKey(incarnationPrefix(ID, promises.control?.incarnation ?? ""), toIndex(first)),
    read: (at = {}) => alone("reader", ({ world }) => readOf(world, at)),
    leasesLapse() {
      stage.nowMs += LEASE_TTL_MS + 1;
    },
  };
}

export function captureOf(world: Process["world"], partBytes = 1_000): Promise<CaptureOutcome> {
  return capture(world, { id: ID, codec: "json", sizes: { partBytes, partBytesMin: partBytes } });
}

export async function readOf(world: Process["world"], at: RecoverRequest["at"] = {}): Promise<Reading> {
  const view = await recover(world, { id: ID, codec: "json", at });
  const values: Record<string, unknown> = {};
  for await (const { count, keys, keyEnds, values: bytes, valueEnds } of view.rows()) {
    for (let row = 0; row < count; row++) {
      const key = keys.toString("utf8", row === 0 ? 0 : keyEnds[row - 1], keyEnds[row]);
      values[key] = JSON.parse(bytes.toString("utf8", row === 0 ? 0 : valueEnds[row - 1], valueEnds[row]));
    }
  }
  return { index: view.index, from: view.from, values, passedOver: view.passedOver.map(({ key }) => key) };
}

export function put(key: string, value: unknown): Extract<Mutation, { kind: "put" }> {
  return { kind: "put", key: Buffer.from(key), value: Buffer.from(JSON.stringify(value)) };
}

/** A batch of puts, by a producer where one is named. */
export function batch(values: Readonly<Record<string, unknown>>, producer?: string, sequence = 1): BatchRequest {
  const mutations = Object.entries(values).map(([key, value]) => put(key, value));
  return { mutations, ...(producer !== undefined && { mark: { producer, sequence: BigInt(sequence), since: toIndex(1) } }) };
}

export const isPut = (step: Step): boolean => step.method === "createIfAbsent";

/** A write of the item with this sort key. */
export function isWriteOf(sort: string): (step: Step) => boolean {
  return (step) => step.method === "write" && JSON.stringify(step.args).includes(`"sort":"${sort}`);
}

/** The one write that commits a checkpoint: control item and history row together. */
export function isCommit(step: Step): boolean {
  return isWriteOf("control")(step) && isWriteOf("snapshot#")(step);
}

/** Two files are appended and captured one by one, and cleaned: redo file 1 is freed, the mark is 2, the tail 3. */
export async function freeFirstFile({ writer, append, capture, clean }: Scene): Promise<Staged<Writer>> {
  const w0 = writer("W0");
  await append(w0, batch({ a: 1 }, "p0", 1));
  await capture();
  await append(w0, batch({ b: 2 }, "p0", 2));
  await capture();
  await clean();
  return w0;
}

/** A writer that stands before the PUT of its batch's redo file, and the append that waits. */
export async function stalledWriter(
  of: Scene,
  name: string,
  request: BatchRequest,
): Promise<{ readonly process: Process; readonly appended: Promise<BatchOutcome>; readonly step: Step }> {
  const { process, part } = of.writer(name);
  const appended = part.append(request);
  const step = await of.stage.until(process, isPut);
  return { process, appended, step };
}
