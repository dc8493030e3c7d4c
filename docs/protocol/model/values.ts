// Values of the protocol: batches, redo files, the chain that joins them, and the state that replay folds them into.
// A value is never changed, so that states of the world share what they have in common.

/** A batch has one mutation, and so one index. `since` is a next index that was seen before it was first sent. */
export interface Batch {
  readonly producer: number;
  readonly sequence: number;
  readonly since: number;
  /** The attachments that the state behind it names, where there are any. */
  readonly names?: readonly string[];
}

/** A place between two redo files, and what the file that begins there must continue. */
export interface Border {
  readonly next: number;
  readonly digest: number;
  readonly time: number;
}

export interface RedoFile {
  readonly life: number;
  /** Its name. */
  readonly first: number;
  readonly batches: readonly Batch[];
  readonly previous: number;
  readonly writeId: string;
  readonly time: number;
  readonly damaged: boolean;
}

export interface Session {
  readonly producer: number;
  readonly sequence: number;
  readonly last: number;
}

/** The state after the mutations 1…index. `applied` names the batches that took effect, in order: the state's content. */
export interface Fold {
  readonly index: number;
  readonly border: Border;
  readonly applied: string;
  /** Of the producers that are remembered, the one idle longest first. */
  readonly sessions: readonly Session[];
  /** The highest index at which a forgotten producer had its last batch. */
  readonly forgottenThrough: number;
  /** Attachments that its values name. */
  readonly names: readonly string[];
}

export const ORIGIN: Border = { next: 1, digest: 0, time: 0 };
export const EMPTY: Fold = { index: 0, border: ORIGIN, applied: "", sessions: [], forgottenThrough: 0, names: [] };

export function nameOf({ producer, sequence }: Pick<Batch, "producer" | "sequence">): string {
  return `${"abcd"[producer]}${sequence}`;
}

export function lastIndex({ first, batches }: Pick<RedoFile, "first" | "batches">): number {
  return first + batches.length - 1;
}

const digests = new Map<string, number>();

/** The chain digest: another number for each other file, or other history before it. */
export function digestOf({ life, first, batches, previous, writeId, time }: RedoFile): number {
  const text = JSON.stringify([life, first, batches, previous, writeId, time]);
  const known = digests.get(text);
  if (known !== undefined) return known;
  digests.set(text, digests.size + 1);
  return digests.size;
}

export function borderBehind(file: RedoFile): Border {
  return { next: lastIndex(file) + 1, digest: digestOf(file), time: file.time };
}

/** Whether a file continues the chain at a border. */
export function continues(file: RedoFile, border: Border): boolean {
  return !file.damaged && file.first === border.next && file.previous === border.digest && file.time >= border.time;
}

export interface ReplayRules {
  /** So many producers are remembered. */
  readonly remembered: number;
  /** A batch of a producer that may have been forgotten is refused. */
  readonly refusesForgotten: boolean;
  /** A batch whose sequence has passed has no effect. */
  readonly passesRepeated: boolean;
}

/** Replays a file's batches up to an index, each at most once. */
export function replay(fold: Fold, file: RedoFile, rules: ReplayRules, upTo = Number.POSITIVE_INFINITY): Fold {
  let { index, applied, sessions, forgottenThrough, names } = fold;
  for (const [place, batch] of file.batches.entries()) {
    const at = file.first + place;
    if (at <= fold.index || at > upTo) continue;
    index = at;
    if (verdict({ sessions, forgottenThrough }, batch, rules) !== "applies") continue;
    applied = applied === "" ? nameOf(batch) : `${applied} ${nameOf(batch)}`;
    names = batch.names ?? names;
    sessions = [...sessions.filter(({ producer }) => producer !== batch.producer), { producer: batch.producer, sequence: batch.sequence, last: at }];
    if (sessions.length > rules.remembered) {
      forgottenThrough = sessions[0].last;
      sessions = sessions.slice(1);
    }
  }
  return { index, border: index === lastIndex(file) ? borderBehind(file) : { ...fold.border, next: index + 1 }, applied, sessions, forgottenThrough, names };
}

export function verdict(
  { sessions, forgottenThrough }: Pick<Fold, "sessions" | "forgottenThrough">,
  batch: Batch,
  { refusesForgotten, passesRepeated }: ReplayRules,
): "applies" | "repeated" | "forgotten" {
  const session = sessions.find(({ producer }) => producer === batch.producer);
  if (session !== undefined) return batch.sequence > session.sequence || !passesRepeated ? "applies" : "repeated";
  return batch.since > forgottenThrough || !refusesForgotten ? "applies" : "forgotten";
}

export function sameFold(a: Fold, b: Fold): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
