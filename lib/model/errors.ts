// Faults, all of one class. Expected results are values (outcomes); an error is thrown only when the
// caller cannot go on as planned, and its `kind` says what the caller can do about it.

/**
 * What the caller can do:
 * - `call`: correct the call, flag or input; nothing was written, unless the store refused its caller between two writes.
 * - `retry`: call again; the fault was passing, or its effect is unknown and the call is safe to repeat.
 * - `wait`: make room or wait (a full disk, a limit of the account), then call again.
 * - `repair`: stored bytes are damaged or missing; the message names the object.
 * - `bug`: the program broke its own rules; report it.
 */
export type FaultKind = "call" | "retry" | "wait" | "repair" | "bug";

export class TidemarkError extends Error {
  override readonly name = "TidemarkError";
  readonly kind: FaultKind;
  /** Stable, kebab-case name of the fault, for machines: "unknown-table", "damaged-object" … */
  readonly code: string;
  /** Key of the object, or name of the item, that is damaged, where the fault is that. */
  readonly object: string | undefined;

  constructor(kind: FaultKind, code: string, message: string, options?: { cause?: unknown; object?: string }) {
    super(message, options);
    this.kind = kind;
    this.code = code;
    this.object = options?.object;
  }
}

/** The call is wrong; `message` names the place and the remedy. */
export function callError(code: string, message: string, cause?: unknown): TidemarkError {
  return new TidemarkError("call", code, message, { cause });
}

/** A stored object is not what it must be (I8); `object` is its key, `what` the finding. */
export function damagedObject(object: string, what: string, cause?: unknown): TidemarkError {
  return new TidemarkError("repair", "damaged-object", `${object} is damaged: ${what}`, { cause, object });
}

/** The same of an item; `part` says where in it, as " (capture)". */
export function damagedItem(item: string, what: string, part = ""): TidemarkError {
  return new TidemarkError("repair", "damaged-item", `the item ${item}${part} is damaged: ${what}`, { object: item });
}

/** A stored object was written by a newer format version than this program reads. */
export function newerFormat(object: string, version: number, known: number): TidemarkError {
  const message = `${object} has format version ${version}; this program reads up to ${known}: install a newer tidemark`;
  return new TidemarkError("call", "newer-format", message);
}

/** What was thrown, in words: anything can be. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function isTidemarkError(error: unknown): error is TidemarkError {
  return error instanceof TidemarkError;
}
