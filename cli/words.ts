// Numbers and tables as people read them.

export function count(number: number, noun: string, plural = `${noun}s`): string {
  return `${grouped(number)} ${number === 1 ? noun : plural}`;
}

export function grouped(number: number | bigint): string {
  return number.toLocaleString("en-US");
}

export function bytesInWords(bytes: number): string {
  if (bytes < 1_000) return count(bytes, "byte");
  if (bytes < 1_000_000) return `${(bytes / 1e3).toFixed(1)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

export function secondsInWords(ms: number): string {
  return `${(ms / 1e3).toFixed(ms < 10_000 ? 2 : 0)} s`;
}

export function timeInWords(timeMs: number): string {
  return timeMs === 0 ? "-" : new Date(timeMs).toISOString();
}

/** Rows in columns, the first row being their heads. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column].length))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const BAR_CELLS = 24;

/** A share from 0 to 1 as a bar and a percentage. */
export function bar(share: number): string {
  const done = Math.min(1, Math.max(0, share));
  const cells = Math.round(done * BAR_CELLS);
  return `${"━".repeat(cells)}${"╌".repeat(BAR_CELLS - cells)} ${String(Math.floor(done * 100)).padStart(3)} %`;
}
