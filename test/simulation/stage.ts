// A stage for processes of the real core: each call of a port becomes a step that waits until the scheduler plays it. A
// step's effect happens at once, on stores that all processes share; then its process runs on to its next call. So every
// interleaving of calls can be played, and every fault between a call, its effect and its reply.
//
// Between steps all processes wait for steps: the core awaits nothing but ports, so each of them has come to its next call
// when no microtask is left.

import { createHash } from "node:crypto";
import { memoryCheckpointStore, type MemoryCheckpointStore } from "../../lib/adapters/memory/checkpoint-store.ts";
import { memoryObjectStore, type MemoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import { assert } from "../../lib/model/assert.ts";
import { TidemarkError } from "../../lib/model/errors.ts";
import type { CheckpointStore } from "../../lib/ports/checkpoint-store.ts";
import type { ObjectStore } from "../../lib/ports/object-store.ts";
import type { Random } from "../../lib/ports/random.ts";
import type { TelemetryEvent } from "../../lib/ports/telemetry.ts";
import type { World } from "../../lib/ports/world.ts";

export interface Step {
  readonly number: number;
  readonly process: Process;
  /** The port's method, or `turn`: the process waits to begin its next job. */
  readonly method: keyof ObjectStore | keyof CheckpointStore | "sleep" | "turn";
  readonly args: readonly unknown[];
  /** The scheduler leaves it alone until this is true: a call that is stalled on its way. */
  heldWhile?: (() => boolean) | undefined;
}

/**
 * How a step is played. `answered`: effect, then reply. `failed`: no effect, a retry fault. `lost`: effect, but a retry
 * fault as reply. `late`: a retry fault now, the effect at any later time. `twice`: the effect happens a second time, as
 * where a client below sends again what it got no answer to, and the second answer is the reply. `full`: no effect, the
 * store has no room. `misread`: the bytes of the reply are damaged on their way. `crash-before`, `crash-after`,
 * `crash-late`: the process dies without, after, or before the effect.
 */
export type Play = "answered" | "failed" | "lost" | "late" | "twice" | "full" | "misread" | "crash-before" | "crash-after" | "crash-late";

export interface Process {
  readonly name: string;
  readonly world: World;
  /** Steps that its calls wait in, oldest first. */
  readonly pending: readonly Step[];
  readonly live: boolean;
  /** Settles when the process dies: whoever waits for its answer gets none. */
  readonly died: Promise<"died">;
  /** By how much its clock is ahead of the stage's, in ms. */
  skewMs: number;
}

/** What a step did to the stores. */
export interface Effect {
  readonly step: Step;
  readonly outcome: unknown;
}

export interface StageOptions {
  readonly random: Random;
  readonly nowMs?: number;
  /** Called behind each effect, before the process learns of it. */
  readonly onEffect?: (effect: Effect) => Promise<void>;
  readonly onEvent?: (process: Process, event: TelemetryEvent) => void;
}

export interface Stage {
  readonly objects: MemoryObjectStore;
  readonly checkpoints: MemoryCheckpointStore;
  nowMs: number;
  readonly processes: readonly Process[];
  /** Effects of `late` steps that have not happened yet. */
  readonly late: readonly Step[];
  process(name: string): Process;
  /** Waits, as a step of the process, for its turn to begin a job. */
  turn(process: Process, job: string): Promise<void>;
  play(step: Step, how?: Play): Promise<void>;
  /** Lets the effect of a late step happen. */
  land(step: Step): Promise<void>;
  kill(process: Process): void;
  /** Waits until every process waits for a step. */
  settle(): Promise<void>;
  /** Plays the steps of one process, and of no other, until its work is settled. */
  finish<T>(process: Process, work: Promise<T>): Promise<T>;
  /** Plays the steps of one process until the next one is that; the process then stands before it. */
  until(process: Process, isThat: (step: Step) => boolean): Promise<Step>;
}

/** No work and no way to a step takes more steps than this. */
const ALONE_STEPS_MAX = 10_000;

interface Waiting extends Step {
  readonly effect: () => Promise<unknown>;
  readonly answer: (outcome: unknown) => void;
  readonly fail: (fault: Error) => void;
}

interface Member extends Process {
  pending: Waiting[];
  live: boolean;
  world: World;
  die: () => void;
}

export function stage({ random, nowMs = 1_700_000_000_000, onEffect, onEvent }: StageOptions): Stage {
  const objects = memoryObjectStore();
  const checkpoints = memoryCheckpointStore();
  const shared = { objects: withFreshEtags(objects), checkpoints };
  const processes: Member[] = [];
  let late: Waiting[] = [];
  let steps = 0;

  const self: Stage = {
    objects,
    checkpoints,
    nowMs,
    processes,
    get late() {
      return late;
    },
    process(name) {
      const { promise: died, resolve } = Promise.withResolvers<"died">();
      const bare = { name, pending: [], live: true, died, die: () => resolve("died"), skewMs: 0 };
      const member: Member = Object.assign(bare, { world: worldOf(() => member) });
      processes.push(member);
      return member;
    },
    turn: async (process, job) => {
      await call(memberOf(process), "turn", [job], async () => undefined);
    },
    async play(step, how = "answered") {
      const waiting = memberOf(step.process).pending.find((each) => each === step) as Waiting;
      const member = memberOf(step.process);
      member.pending = member.pending.filter((each) => each !== step);
      const crashes = how.startsWith("crash");
      if (crashes) self.kill(member);
      if (how === "late" || how === "crash-late") late.push(waiting);
      if (how === "lost" || how === "twice" || how === "crash-after") await happen(waiting);
      if (how === "answered" || how === "twice") await happen(waiting, waiting.answer);
      if (how === "misread") await happen(waiting, (outcome) => waiting.answer(misread(outcome, random)));
      if (how === "failed" || how === "lost" || how === "late") waiting.fail(new TidemarkError("retry", "no-answer", `no answer came to ${step.method}`));
      if (how === "full") waiting.fail(new TidemarkError("wait", "no-space", `there is no room for ${step.method}`));
      await idle();
    },
    async land(step) {
      const waiting = late.find((each) => each === step) as Waiting;
      late = late.filter((each) => each !== step);
      await happen(waiting);
    },
    kill(process) {
      const member = memberOf(process);
      member.live = false;
      member.pending = [];
      processes.splice(processes.indexOf(member), 1);
      member.die();
    },
    settle: idle,
    async finish(process, work) {
      let settled = false;
      const settle = () => {
        settled = true;
      };
      work.then(settle, settle);
      await idle();
      for (let step = 0; !settled; step++) {
        assert(step < ALONE_STEPS_MAX && process.pending.length > 0, `${process.name} comes to an end`);
        await self.play(process.pending[0]);
      }
      return work;
    },
    async until(process, isThat) {
      await idle();
      for (let played = 0; ; played++) {
        const [step] = process.pending;
        assert(played < ALONE_STEPS_MAX && step !== undefined, `${process.name} comes to that step`);
        if (isThat(step)) return step;
        await self.play(step);
      }
    },
  };
  return self;

  async function happen(step: Waiting, answer?: (outcome: unknown) => void): Promise<void> {
    let outcome: unknown;
    try {
      outcome = await step.effect();
    } catch (error) {
      if (answer !== undefined) step.fail(error as Error);
      return;
    }
    await onEffect?.({ step, outcome });
    answer?.(outcome);
  }

  function call<T>(process: Member, method: Step["method"], args: readonly unknown[], effect: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (!process.live) return;
      steps += 1;
      process.pending.push({ number: steps, process, method, args, effect, answer: (outcome) => resolve(outcome as T), fail: reject });
    });
  }

  function worldOf(member: () => Member): World {
    const { objects, checkpoints } = shared;
    const step: <T>(method: Step["method"], args: readonly unknown[], effect: () => Promise<T>) => Promise<T> = (...request) => call(member(), ...request);
    return {
      objects: {
        createIfAbsent: (key, body) => step("createIfAbsent", [key, body], () => objects.createIfAbsent(key, body)),
        get: (key) => step("get", [key], () => objects.get(key)),
        getRange: (key, range) => step("getRange", [key, range], () => objects.getRange(key, range)),
        head: (key) => step("head", [key], () => objects.head(key)),
        list: (request) => step("list", [request], () => objects.list(request)),
        deleteMany: (keys) => step("deleteMany", [keys], () => objects.deleteMany(keys)),
        createUpload: (key, numbers) => step("createUpload", [key, numbers], () => objects.createUpload(key, numbers)),
        uploadPart: (request) => step("uploadPart", [request], () => objects.uploadPart(request)),
        copyPart: (request) => step("copyPart", [request], () => objects.copyPart(request)),
        completeUpload: (request) => step("completeUpload", [request], () => objects.completeUpload(request)),
        abortUpload: (upload) => step("abortUpload", [upload], () => objects.abortUpload(upload)),
        listUploads: (request) => step("listUploads", [request], () => objects.listUploads(request)),
      },
      checkpoints: {
        get: (key) => step("get", [key], () => checkpoints.get(key)),
        query: (request) => step("query", [request], () => checkpoints.query(request)),
        queryDirty: (request) => step("queryDirty", [request], () => checkpoints.queryDirty(request)),
        write: (changes) => step("write", [changes], () => checkpoints.write(changes)),
      },
      clock: {
        now: () => self.nowMs + member().skewMs,
        sleep: (ms, signal) => (signal?.aborted ? Promise.resolve() : sleep(member(), ms, signal)),
      },
      random,
      telemetry: { report: (event) => onEvent?.(member(), event) },
    };
  }

  /** Any sleep may end at any time: nothing's safety rests on how long it lasts. */
  function sleep(process: Member, ms: number, signal: AbortSignal | undefined): Promise<void> {
    const slept = call(process, "sleep", [ms], async () => undefined);
    const step = process.pending.at(-1);
    signal?.addEventListener("abort", () => {
      process.pending = process.pending.filter((each) => each !== step);
      step?.answer(undefined);
    });
    return slept;
  }

  function memberOf(process: Process): Member {
    return process as Member;
  }
}

/** Its call, cut short. */
export function describeStep({ method, args }: Step): string {
  return `${method} ${JSON.stringify(args, (_, value: unknown) => (value instanceof Uint8Array || isBufferJson(value) ? "bytes" : value)).slice(0, 300)}`;
}

function isBufferJson(value: unknown): boolean {
  return typeof value === "object" && value !== null && "type" in value && value.type === "Buffer";
}

/** An answer with bytes, one of which is another, or without its last ones. */
function misread(outcome: unknown, random: Random): unknown {
  const { body } = outcome as { readonly body?: Buffer };
  if (body === undefined || body.length === 0) return outcome;
  const at = Math.floor(random.fraction() * body.length);
  if (random.fraction() < 0.3) return { ...(outcome as object), body: body.subarray(0, at) };
  body[at] ^= 1 << Math.floor(random.fraction() * 8);
  return outcome;
}

/** Until every microtask has run, and so every process waits for a step. Node's ticks come behind them; a turn of its loop costs more. */
function idle(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve));
}

/**
 * The same bytes uploaded or copied twice get two ETags, as where S3 encrypts with KMS keys: a part that is written over is no
 * longer the one that was listed.
 */
function withFreshEtags(store: MemoryObjectStore): ObjectStore {
  const current = new Map<string, { readonly fresh: string; readonly stored: string }>();
  let uploaded = 0;
  const freshEtag = ({ uploadId, number }: { readonly uploadId: string; readonly number: number }, stored: string): string => {
    uploaded += 1;
    const fresh = createHash("sha256").update(`${stored} ${uploaded}`).digest("hex");
    current.set(`${uploadId} ${number}`, { fresh, stored });
    return fresh;
  };
  return {
    ...store,
    async uploadPart(request) {
      const outcome = await store.uploadPart(request);
      return outcome.kind === "stored" ? { kind: "stored", etag: freshEtag(request, outcome.etag) } : outcome;
    },
    async copyPart(request) {
      const outcome = await store.copyPart(request);
      return outcome.kind === "stored" ? { ...outcome, etag: freshEtag(request, outcome.etag) } : outcome;
    },
    completeUpload({ parts, ...upload }) {
      const stored = parts.map(({ number, etag }) => {
        const part = current.get(`${upload.uploadId} ${number}`);
        return { number, etag: part?.fresh === etag ? part.stored : etag };
      });
      return store.completeUpload({ ...upload, parts: stored });
    },
  };
}
