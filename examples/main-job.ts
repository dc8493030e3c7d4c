// `npm start`: the main job on a real change stream, with no account and no service. Without an argument that is this
// clone's own git history; without one of those it is a small set of real changes, examples/european-union.ndjson.

const NODE_MAJOR_MIN = 22;
if (Number(process.versions.node.split(".")[0]) < NODE_MAJOR_MIN) {
  console.error(
    `Tidemark needs Node ${NODE_MAJOR_MIN}.15 or newer, this is ${process.versions.node}: run "npm ci", then "npm start", which uses the Node that it brings.`,
  );
  process.exit(1);
}
// A reader that has seen enough closes the pipe: that is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
// What is loaded here may use what older versions lack.
const { main } = await import("./main-job-command.ts");
process.exitCode = await main(process.argv.slice(2));

export {};
