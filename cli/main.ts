#!/usr/bin/env node
// The entry: looks at the Node it runs on before it loads anything that an older one could not.

const NODE_MAJOR = 22;
const NODE_MINOR = 15;

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < NODE_MAJOR || (major === NODE_MAJOR && minor < NODE_MINOR)) {
  console.error(`tidemark needs Node ${NODE_MAJOR}.${NODE_MINOR} or newer, and this is ${process.versions.node}: install a newer one (https://nodejs.org)`);
  process.exitCode = 2;
} else {
  const { main } = await import("./program.ts");
  process.exitCode = await main(process.argv.slice(2));
}
