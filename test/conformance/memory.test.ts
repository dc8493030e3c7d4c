import { memoryCheckpointStore } from "../../lib/adapters/memory/checkpoint-store.ts";
import { memoryObjectStore } from "../../lib/adapters/memory/object-store.ts";
import { checkpointStoreLaws } from "./checkpoint-store.ts";
import { objectStoreLaws } from "./object-store.ts";

objectStoreLaws("memory", async () => ({ store: memoryObjectStore(), dispose: async () => {} }));
checkpointStoreLaws("memory", async () => ({ store: memoryCheckpointStore(), dispose: async () => {} }));
