// What every command is handed: where to write, when to stop, and the store.

import type { Command } from "commander";
import { TidemarkError } from "../lib/model/errors.ts";
import type { Telemetry, TelemetryEvent } from "../lib/ports/telemetry.ts";
import type { World } from "../lib/ports/world.ts";
import type { ExitCode } from "./exit-codes.ts";
import type { Output } from "./output.ts";
import { openStore, type StoreUrl } from "./store.ts";
import { bytesInWords, grouped } from "./words.ts";

export interface Context {
  readonly output: Output;
  /** Aborts at the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  readonly store: StoreUrl;
}

export type Action = (context: Context) => Promise<ExitCode>;

/** Carries out a command's action: sets up its context, tells its errors, keeps its exit code. */
export type Run = (command: Command, action: Action) => Promise<void>;

/** Opens the store for the work, and closes it behind it. */
export async function withWorld<T>({ store, output }: Context, work: (world: World) => Promise<T>): Promise<T> {
  const { world, close } = await openStore(store, telemetryTo(output));
  try {
    return await work(world);
  } finally {
    await close();
  }
}

export function interrupted(what: string): TidemarkError {
  return new TidemarkError("retry", "interrupted", `interrupted: ${what}`);
}

function telemetryTo(output: Output): Telemetry {
  return { report: (event) => tell(output, event) };
}

function tell(output: Output, event: TelemetryEvent): void {
  switch (event.kind) {
    case "warning":
      output.warning(event.message, event.shard);
      return;
    case "fell-back":
      output.warning(`${event.reason}; falling back to index ${event.to}`, event.shard);
      return;
    case "unparseable-name":
      output.warning(`${event.key} is no name of this program's: it was left alone`, event.shard);
      return;
    case "job-stage":
      output.progress(`${event.shard}: ${event.stage}`);
      return;
    case "capture-uploaded":
      output.progress(
        `${event.shard}: part ${event.part} of the snapshot is stored, ${bytesInWords(event.bytesDone)} of about ${bytesInWords(event.bytesExpected)}`,
        Math.min(1, event.bytesDone / event.bytesExpected),
      );
      return;
    case "capture-resumed":
      output.progress(`${event.shard}: goes on behind part ${event.parts}, ${bytesInWords(event.bytes)} of about ${bytesInWords(event.bytesExpected)}`);
      return;
    case "replayed":
      output.progress(`${event.shard}: ${grouped(event.mutations)} mutations replayed`);
      return;
    case "gathered":
      output.progress(`${event.what}: ${event.done} of ${event.total}, ${bytesInWords(event.bytes)}`, event.total === 0 ? 1 : event.done / event.total);
      return;
    case "appended":
    case "captured":
    case "cleaned":
      return;
  }
}
