// How much log there is. Carried along by whoever walks or appends, as a hint for the planner: nothing's safety rests on it.

export interface LogSize {
  readonly files: number;
  /** Of the redo files as they are stored. */
  readonly bytes: number;
  /** Of their bodies before compression: keys and values, and 3 to 7 bytes a mutation. */
  readonly rawBytes: number;
}

export const NO_LOG: LogSize = { files: 0, bytes: 0, rawBytes: 0 };

/** The log with one more redo file behind it. */
export function withFile({ files, bytes, rawBytes }: LogSize, file: { readonly bytes: number; readonly rawBytes: number }): LogSize {
  return { files: counted(files, 1), bytes: counted(bytes, file.bytes), rawBytes: counted(rawBytes, file.rawBytes) };
}

/** The sum, or the most that an item can hold: a hint that was altered stops nobody. */
export function counted(count: number, more: number): number {
  return Math.min(count + more, Number.MAX_SAFE_INTEGER);
}
