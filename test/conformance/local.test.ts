import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { initLocalStore, type LocalStore, openLocalStore } from "../../lib/adapters/local/store.ts";
import { checkpointStoreLaws } from "./checkpoint-store.ts";
import { objectStoreLaws } from "./object-store.ts";

async function openFresh(): Promise<{ readonly local: LocalStore; readonly dispose: () => Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-laws-"));
  await initLocalStore(directory);
  const local = await openLocalStore(directory);
  const dispose = async (): Promise<void> => {
    await local.close();
    await rm(directory, { recursive: true });
  };
  return { local, dispose };
}

objectStoreLaws("local", async () => {
  const { local, dispose } = await openFresh();
  return { store: local.objects, dispose };
});
checkpointStoreLaws("local", async () => {
  const { local, dispose } = await openFresh();
  return { store: local.checkpoints, dispose };
});
