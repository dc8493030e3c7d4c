// A worker's word on its own work, without the start of its process: one line that bench.ts reads.

export interface Told {
  readonly snapshotBytes?: number;
  readonly note?: string;
}

/** CPU seconds are those of all threads of this process. */
export async function reportWork(work: () => Promise<Told>): Promise<void> {
  const startedAt = performance.now();
  const before = process.cpuUsage();
  const told = await work();
  const { user, system } = process.cpuUsage(before);
  const seconds = (performance.now() - startedAt) / 1e3;
  console.log(`REPORT ${JSON.stringify({ seconds, cpuSeconds: (user + system) / 1e6, ...told })}`);
}
