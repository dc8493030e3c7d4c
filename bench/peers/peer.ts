// What a peer is, what it is handed, and what comes out: rows, and checks of contents.

import type { Content, Data } from "./data.ts";
import type { Comparison } from "./comparisons.ts";

export interface Peer {
  readonly name: string;
  /** Makes what it needs, unless the cache has it. */
  setUp(): Promise<SetUp>;
}

/** `lacking`: what to install on this machine before the peer can run. */
export type SetUp = { readonly kind: "ready"; readonly run: (bench: Bench) => Promise<void> } | { readonly kind: "lacking"; readonly what: string };

export interface Task {
  readonly task: string;
  /** The row stands beside rows of other peers in these. */
  readonly comparisons?: readonly Comparison[];
}

export interface CommandTask extends Task {
  readonly command: readonly [string, ...string[]];
  readonly env?: NodeJS.ProcessEnv;
}

/** One peer's bench: a server of its own with an empty bucket, and an empty folder. */
export interface Bench {
  readonly folder: string;
  readonly data: Data;
  readonly endpoint: string;
  readonly bucket: string;
  /** With the endpoint and its credentials, as every S3 client reads them. */
  readonly env: NodeJS.ProcessEnv;
  /** Runs the command to its end: one row. */
  measure(task: CommandTask): Promise<Row>;
  /** Does `work`, which a resident process of the peer takes part in: one row, with that process's memory and CPU. */
  watch(task: Task & { readonly pid: number }, work: () => Promise<void>): Promise<Row>;
  /** Runs a command that is not measured; what it prints. */
  run(...command: readonly [string, ...string[]]): Promise<string>;
  /** A row that was not run, such as a bound that is known. */
  note(row: Pick<Row, "task" | "comparisons"> & Partial<Row>): void;
  check(what: string, found: Content, expected: Content): void;
}

export interface Row extends Task {
  readonly peer: string;
  /** The work alone, as measured inside the process by itself; of programs that cannot tell, the whole process. */
  readonly seconds?: number;
  readonly cpuSeconds?: number;
  /** The whole process, its start included, by the kernel's account of it and its children. */
  readonly process?: { readonly seconds: number; readonly cpuSeconds: number; readonly peakBytes: number };
  /** Bytes of bodies that passed the proxy, to the server and back. */
  readonly up?: number;
  readonly down?: number;
  /** Bytes of all objects in the bucket afterwards. */
  readonly stored?: number;
  readonly requests?: Readonly<Record<string, number>>;
  /** Bytes of the snapshot that was made. */
  readonly snapshotBytes?: number;
  readonly note?: string;
}

export interface Check {
  readonly peer: string;
  readonly what: string;
  readonly found: Content;
  readonly expected: Content;
}
