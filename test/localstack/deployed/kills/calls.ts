// The calls of a run: each may be the victim of the next kill of its function, or be stopped for a while where it is.

import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import type { ShardId } from "../../../../lib/model/names.ts";
import type { Random } from "../../../../lib/ports/random.ts";
import type { World } from "../../../../lib/ports/world.ts";
import { type FunctionName, type HttpCall, httpEvent, type Invocations, type Invoked, queueEvent } from "./invocations.ts";
import { lookAt, type Sight } from "./stages.ts";

/** How long an invocation takes, until some have been seen. */
const FIRST_MS = 150;
const SEEN_MAX = 9;
const LOOK_MS = 30;
/** Behind its limit a function would be killed where it is stopped. */
const FREEZE_MS_MAX = 12_000;

export interface Killed {
  readonly name: FunctionName;
  readonly before?: Sight;
  readonly after?: Sight;
}

export interface Calls {
  http(name: "ingest" | "requests", call: HttpCall): Promise<HttpAnswer>;
  /** Of the snapshot or the cleanup function, with a message for the shard. */
  message(name: "snapshot" | "cleanup", id: ShardId, message: object): Promise<QueueAnswer>;
  /** Kills a next call of a function at a random moment; nothing where that came too late. */
  killNext(name: FunctionName): Promise<Killed | undefined>;
  /** Stops a next capture at a random moment, while something else is done, and lets it go on; false where it did not. */
  freezeNext(meanwhile: (id: ShardId) => Promise<unknown>): Promise<boolean>;
  /** Whether a next call of that function is to be killed or stopped. */
  isArmed(name: FunctionName): boolean;
  /** How often a function ended in order but asked to be called again, by its reason; and other such counts. */
  readonly counts: ReadonlyMap<string, number>;
}

export type HttpAnswer = { readonly kind: "answered"; readonly status: number; readonly body: string } | { readonly kind: "none" };
export type QueueAnswer = { readonly kind: "done" } | { readonly kind: "again" } | { readonly kind: "none" };

/** A call at the moment that was chosen for it. */
interface Victim {
  readonly mark: string;
  readonly invoking: Promise<Invoked>;
  readonly id?: ShardId;
  /** Of before the call. */
  readonly before?: Sight;
}

interface Arm {
  readonly name: FunctionName;
  readonly strike: (victim: Victim) => Promise<void>;
}

export function openCalls({ invocations, world, random }: { readonly invocations: Invocations; readonly world: World; readonly random: Random }): Calls {
  const armed: Arm[] = [];
  const seen = new Map<FunctionName, readonly number[]>();
  const counts = new Map<string, number>();
  const count = (what: string): void => void counts.set(what, (counts.get(what) ?? 0) + 1);

  return {
    counts,
    isArmed: (name) => armed.some((each) => each.name === name),
    killNext: (name) => new Promise((resolve) => armed.push({ name, strike: async (victim) => resolve(await kill(name, victim)) })),
    freezeNext: (meanwhile) => new Promise((resolve) => armed.push({ name: "snapshot", strike: async (victim) => resolve(await freeze(victim, meanwhile)) })),
    async http(name, call) {
      const invoked = await carryOut(name, (mark) => httpEvent(call, mark));
      if (invoked.kind === "failed") return { kind: "none" };
      const reply: { readonly statusCode: number; readonly body: string } = JSON.parse(invoked.payload);
      if (reply.statusCode === 503) count(`${name}: ${reply.body}`);
      return { kind: "answered", status: reply.statusCode, body: reply.body };
    },
    async message(name, id, message) {
      const invoked = await carryOut(name, (mark) => queueEvent(message, mark), id);
      if (invoked.kind === "failed") return { kind: "none" };
      const reply: { readonly batchItemFailures: readonly unknown[] } = JSON.parse(invoked.payload);
      if (reply.batchItemFailures.length === 0) return { kind: "done" };
      const fault = /"kind":"([a-z]+)","code":"([a-z-]+)"/.exec(invoked.log);
      if (fault?.[1] !== "retry") throw new Error(`${name} failed: ${invoked.log}`);
      count(`${name}: ${fault[2]}`);
      return { kind: "again" };
    },
  };

  async function carryOut(name: FunctionName, event: (mark: string) => object, id?: ShardId): Promise<Invoked> {
    const mark = randomUUID();
    const place = armed.findIndex((each) => each.name === name);
    if (place >= 0) return struck(armed.splice(place, 1)[0], { mark, event: event(mark), ...(id && { id }) });
    const startedAt = performance.now();
    const invoked = await invocations.invoke(name, event(mark));
    if (invoked.kind === "answered") seen.set(name, [...(seen.get(name) ?? []), performance.now() - startedAt].slice(-SEEN_MAX));
    // By SIGKILL where it was given to the process that a kill had just met behind its answer.
    else count(`${name}: ended by ${invoked.by}, not by a kill`);
    return invoked;
  }

  async function struck(
    { name, strike }: Arm,
    { mark, event, id }: { readonly mark: string; readonly event: object; readonly id?: ShardId },
  ): Promise<Invoked> {
    const before = id && (await lookAt(world, id));
    let isOver = false;
    const invoking = invocations.invoke(name, event).finally(() => {
      isOver = true;
    });
    invoking.catch(() => undefined);
    // It may wait for a process to start.
    while (!isOver && !(await invocations.isAt(mark))) await pause(LOOK_MS);
    await pause(random.fraction() * usualMs(name));
    await strike({ mark, invoking, ...(id && { id }), ...(before && { before }) });
    return await invoking;
  }

  async function kill(name: FunctionName, { mark, invoking, id, before }: Victim): Promise<Killed | undefined> {
    await invocations.signal(mark, "SIGKILL");
    const invoked = await invoking;
    if (invoked.kind !== "failed" || invoked.by !== "SIGKILL") return undefined;
    const after = id && (await lookAt(world, id));
    return { name, ...(before && { before }), ...(after && { after }) };
  }

  async function freeze({ mark, id }: Victim, meanwhile: (id: ShardId) => Promise<unknown>): Promise<boolean> {
    if (id === undefined || !(await invocations.signal(mark, "SIGSTOP"))) return false;
    const doing = meanwhile(id);
    await Promise.race([doing, pause(FREEZE_MS_MAX)]);
    const goesOn = await invocations.signal(mark, "SIGCONT");
    await doing;
    return goesOn;
  }

  /** Rather short: what a function does before it begins counts in what was seen. */
  function usualMs(name: FunctionName): number {
    const sorted = [...(seen.get(name) ?? [FIRST_MS])].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 4)];
  }
}
