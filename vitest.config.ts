import { defineConfig } from "vitest/config";

const NODE_MAJOR = 24;
if (Number(process.versions.node.split(".")[0]) < NODE_MAJOR) {
  console.error(
    `The tests run on Node ${NODE_MAJOR}, this is ${process.versions.node}: start them with "npm test", which uses the Node among the dev dependencies ("npm ci" installs it).`,
  );
  process.exit(1);
}

const ON_LOCALSTACK = "test/localstack/**/*.test.ts";
const WITH_INFLUXDB = "test/influxdb/**/*.test.ts";
const SIMULATION = "test/simulation/**/*.test.ts";

export default defineConfig({
  test: {
    reporters: ["default", "./test/reporter.ts"],
    testTimeout: 240_000,
    hookTimeout: 180_000,
    teardownTimeout: 10_000,
    // Files that start processes of their own would slow each other down beyond their timeouts.
    maxWorkers: 2,
    projects: [
      { extends: true, test: { name: "unit", include: ["test/**/*.test.ts"], exclude: [ON_LOCALSTACK, WITH_INFLUXDB, SIMULATION] } },
      // Its files start servers, and measure time against them: one after the other.
      { extends: true, test: { name: "influxdb", include: [WITH_INFLUXDB], fileParallelism: false, sequence: { groupOrder: 1 } } },
      // It has a thread on every core.
      { extends: true, test: { name: "simulation", include: [SIMULATION], sequence: { groupOrder: 2 } } },
      // Its set-up starts LocalStack and deploys the stack, once for all its files, and only where one of them runs.
      {
        extends: true,
        test: { name: "localstack", include: [ON_LOCALSTACK], globalSetup: "./test/localstack/global-setup.ts", testTimeout: 1_200_000, hookTimeout: 300_000 },
      },
    ],
  },
});
