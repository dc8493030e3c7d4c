// The package: tables, writers, recovery, and the rounds that capture and clean. Stores are in tidemark/local, /memory and /aws.

export { bytes, type Codec, json } from "./api/codec.ts";
export type { OpenStore, Store } from "./api/store.ts";
export { type OpenTable, type OpenTableOptions, openTable } from "./api/table.ts";
export { type RecoverOptions, recover, type TableView, type ViewEntry } from "./api/view.ts";
export type { AppendOptions, Change, ChangeOutcome, Writer, WriterOptions } from "./api/writer.ts";
export { type LoopRequest, type RoundReport, type RoundRequest, runLoop, runRound } from "./jobs/run.ts";
export { type FaultKind, isTidemarkError, TidemarkError } from "./model/errors.ts";
export type { Telemetry, TelemetryEvent } from "./ports/telemetry.ts";
export type { World } from "./ports/world.ts";
