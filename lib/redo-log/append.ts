// Appends batches to a shard as one redo file (rules 6 to 10). The key of the file is the claim: of two writers one wins
// it (I2). Whether a claim counts is told by the control item, read once after the PUT: cleanup may have freed the name
// before a stalled writer took it, so without that check an acknowledged batch could lie where no recovery looks (I1).

import { readControl } from "../checkpoint/control.ts";
import { isTidemarkError, TidemarkError } from "../model/errors.ts";
import { APPEND_ATTEMPTS_MAX, PUT_ATTEMPTS_MAX } from "../model/limits.ts";
import { withFile } from "../model/log-size.ts";
import type { Batch } from "../model/mutation.ts";
import { incarnationPrefix, redoKey, type ShardId, shardName } from "../model/names.ts";
import { type Border, type Index, toIndex } from "../model/position.ts";
import { mayBeForgotten, type Sessions } from "../model/sessions.ts";
import type { CheckpointStore } from "../ports/checkpoint-store.ts";
import type { Clock } from "../ports/clock.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import type { Random } from "../ports/random.ts";
import { encodeRedoBody, encodeRedoFile } from "./codec.ts";
import { borderBehind, covers, type Life, readHead } from "./read.ts";
import { type Belief, findTail } from "./tail.ts";

export interface AppendDeps {
  readonly objects: Pick<ObjectStore, "createIfAbsent" | "get" | "getRange" | "list">;
  readonly checkpoints: CheckpointStore;
  readonly random: Random;
  readonly clock: Clock;
  /**
   * The session table at a border of the log, a copy of one's own; nothing where the log does not come to it. Asked only for
   * batches old enough to be forgotten.
   */
  readonly sessionsAt: (life: Life, border: Border) => Promise<Sessions | undefined>;
}

/**
 * `appended`: durable, in every later recovery. `sealed`: the shard has another incarnation than the batches were meant
 * for, or none; open the table again. `forgotten`: batches (by place) that the shard may have applied and forgotten;
 * nothing of the request was appended. `misled`: batches look forgotten, but none of them can have been appended by this
 * request: they were stamped by a belief that others have left far behind. Walk, stamp them anew, and append again.
 */
export type AppendOutcome =
  | { readonly kind: "appended"; readonly first: Index; readonly last: Index; readonly timeMs: number; readonly bytes: number; readonly belief: Belief }
  | { readonly kind: "sealed" }
  | { readonly kind: "forgotten"; readonly batches: readonly number[] }
  | { readonly kind: "misled" };

export interface AppendRequest {
  readonly id: ShardId;
  /** In their order; all or nothing. Each was checked (lib/model/mutation.ts). */
  readonly batches: readonly Batch[];
  /** What the writer believes. Its incarnation is the life that the batches are meant for. */
  readonly belief: Belief;
  /** Batches that look forgotten are to be handed back, if they can be stamped anew. */
  readonly stampsAnew?: boolean;
}

const WRITE_ID_DIGITS = 32;

/**
 * @throws {TidemarkError} `retry` when no answer came: the batches may have been appended; append the same again.
 */
export async function append(deps: AppendDeps, request: AppendRequest): Promise<AppendOutcome> {
  const { id, batches } = request;
  const { incarnation } = request.belief;
  const life = { id, incarnation };
  const body = encodeRedoBody(batches);
  let belief: Belief | undefined = request.belief;
  // A claim that may count fixes what its batches are stamped with; one that was lost for certain does not.
  let { stampsAnew = false } = request;
  for (let attempt = 0; attempt < APPEND_ATTEMPTS_MAX; attempt++) {
    belief ??= await findTail(deps, id, deps.clock.now());
    if (belief.incarnation !== incarnation) return { kind: "sealed" };
    if (someMayBeForgotten(belief, batches)) {
      if (stampsAnew) return { kind: "misled" };
      const sessions = await deps.sessionsAt(life, belief.border);
      if (sessions === undefined) {
        belief = undefined;
        continue;
      }
      const forgotten = forgottenBatches(sessions, belief, batches);
      if (forgotten.length > 0) return { kind: "forgotten", batches: forgotten };
    }
    const timeMs = Math.max(deps.clock.now(), belief.border.timeMs);
    const writeId = deps.random.id(WRITE_ID_DIGITS);
    const file = encodeRedoFile({
      table: id.table,
      shard: id.shard,
      incarnation,
      first: belief.border.next,
      previousDigest: belief.border.digest,
      writeId,
      batches: batches.map((batch) => ({ ...batch, timeMs })),
      body,
    });
    const claim = await claimName(deps, life, belief, { bytes: file.bytes, writeId });
    if (claim.kind === "mine") {
      const control = await readControl(deps.checkpoints, id);
      if (control === undefined || control.incarnation !== incarnation) return { kind: "sealed" };
      if (control.lowWater <= file.header.first) {
        const border = borderBehind(file.header);
        const last = toIndex(border.next - 1);
        const bytes = file.bytes.length;
        const log = withFile(belief.log, { bytes, rawBytes: file.header.rawBytes });
        return { kind: "appended", first: file.header.first, last, timeMs, bytes, belief: { incarnation, border, log } };
      }
      // The claim is void, or was captured already: nobody can tell. Append again; the session makes it apply once.
      belief = undefined;
      stampsAnew = false;
    } else {
      // To a winner that is not validated none is lost for certain: cleanup may have freed the name of a claim that went without an answer.
      stampsAnew &&= claim.behind !== undefined;
      // Where a second claim is lost, the published tail is nearer than the next name: others may be far ahead.
      belief = attempt === 0 ? claim.behind : undefined;
    }
  }
  throw new TidemarkError(
    "retry",
    "contended",
    `${shardName(id)} took no redo file in ${APPEND_ATTEMPTS_MAX} attempts: other writers were quicker; append again`,
  );
}

type Claim = { readonly kind: "mine" } | { readonly kind: "lost"; readonly behind: Belief | undefined };

/** PUTs the file under the next name; on a lost claim, moves behind the winner if that is validated, else forgets the belief. */
async function claimName(deps: AppendDeps, life: Life, belief: Belief, file: { readonly bytes: Buffer; readonly writeId: string }): Promise<Claim> {
  const key = redoKey(incarnationPrefix(life.id, life.incarnation), belief.border.next);
  if ((await createPatiently(deps, key, file.bytes)) === "created") return { kind: "mine" };
  const winner = await readHead(deps, life, belief.border);
  if (winner.kind === "found" && winner.file.writeId === file.writeId) return { kind: "mine" };
  if (winner.kind !== "found") return { kind: "lost", behind: undefined };
  const valid = await covers(deps, life, winner.file.first);
  const log = withFile(belief.log, { bytes: winner.bytes, rawBytes: winner.file.rawBytes });
  return { kind: "lost", behind: valid ? { incarnation: life.incarnation, border: winner.border, log } : undefined };
}

/** A PUT without an answer is repeated with the same write id: it finds its own file if it had arrived. */
async function createPatiently({ objects }: AppendDeps, key: string, bytes: Buffer): Promise<"created" | "exists"> {
  let fault: unknown;
  for (let attempt = 0; attempt < PUT_ATTEMPTS_MAX; attempt++) {
    try {
      return (await objects.createIfAbsent(key, bytes)).kind;
    } catch (error) {
      if (!isTidemarkError(error) || error.kind !== "retry") throw error;
      fault = error;
    }
  }
  throw fault;
}

/** Before a batch no more producers have written, since it was first sent, than there are indexes in the log and batches in front of it here. */
function someMayBeForgotten({ border }: Belief, batches: readonly Batch[]): boolean {
  return batches.some(({ mark }, place) => mark !== undefined && mayBeForgotten(mark, toIndex(border.next + place)));
}

/** Which batches replay would refuse, in their order: each that applies may make the shard forget the producer of a later one. */
function forgottenBatches(sessions: Sessions, { border }: Belief, batches: readonly Batch[]): readonly number[] {
  const forgotten: number[] = [];
  let last = border.next - 1;
  for (const [place, { mutations, mark }] of batches.entries()) {
    last += mutations.length;
    if (mark !== undefined && sessions.apply(mark, toIndex(last)) === "forgotten") forgotten.push(place);
  }
  return forgotten;
}
