// The figures as tables that can be pasted into a document.

import { MEASURES } from "./comparisons.ts";
import type { Check, Row } from "./peer.ts";
import type { Ratio } from "./ratios.ts";

export function rowsTable(rows: readonly Row[]): string {
  const head = ["peer", "task", "s", "CPU s", "process s", "process CPU s", "peak RSS MB", "MB up", "MB down", "MB stored", "requests", ""];
  const cells = rows.map((row) => [
    row.peer,
    row.task,
    digits(row.seconds, 2),
    digits(row.cpuSeconds, 2),
    digits(row.process?.seconds, 2),
    digits(row.process?.cpuSeconds, 2),
    megabytes(row.process?.peakBytes, 0),
    megabytes(row.up, 2),
    megabytes(row.down, 2),
    megabytes(row.stored, 1),
    requestsInWords(row.requests),
    row.note ?? "",
  ]);
  return table(head, cells);
}

export function ratiosTable(ratios: readonly Ratio[]): string {
  const head = ["comparison", "Tidemark", "beside", "its task", ...MEASURES];
  const cells = ratios.map(({ comparison, ours, peer, theirs, ratios: ratio }) => [
    comparison,
    ours,
    peer,
    theirs,
    ...MEASURES.map((measure) => digits(ratio[measure], 2)),
  ]);
  return table(head, cells);
}

export function checksTable(checks: readonly Check[]): string {
  const cells = checks.map((check) => [check.peer, check.what, String(check.found.rows), check.found.sha256, isSame(check) ? "as expected" : "WRONG"]);
  return table(["peer", "content", "rows", "SHA-256, first half", ""], cells);
}

export function isSame({ found, expected }: Check): boolean {
  return found.rows === expected.rows && found.sha256 === expected.sha256;
}

function requestsInWords(requests: Row["requests"] = {}): string {
  const kinds = Object.entries(requests).sort(([a], [b]) => (a < b ? -1 : 1));
  return kinds.map(([kind, count]) => `${kind} ${count}`).join(", ");
}

function digits(number: number | undefined, fraction: number): string {
  return number === undefined ? "" : number.toFixed(fraction);
}

function megabytes(bytes: number | undefined, fraction: number): string {
  return digits(bytes === undefined ? undefined : bytes / 1e6, fraction);
}

function table(head: readonly string[], cells: readonly (readonly string[])[]): string {
  const widths = head.map((name, column) => Math.max(...[head, ...cells].map((row) => row[column].length), name.length));
  const line = (row: readonly string[]): string => `| ${row.map((cell, column) => cell.padEnd(widths[column])).join(" | ")} |`;
  return [line(head), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...cells.map(line)].join("\n");
}
