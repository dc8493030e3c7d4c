// `node test/localstack/main.ts`: a LocalStack to explore by hand, until Ctrl-C.

import { once } from "node:events";
import { awsEnvironment, startLocalStack } from "./localstack.ts";

const { endpoint, stop } = await startLocalStack();
for (const [name, value] of Object.entries(awsEnvironment(endpoint))) console.log(`export ${name}=${value}`);
const stayAlive = setInterval(() => {}, 60_000);
await Promise.race(["SIGINT", "SIGTERM", "SIGHUP"].map((signal) => once(process, signal)));
clearInterval(stayAlive);
await stop();
