// LocalStack in a container, its functions in containers beside it. Needs an engine on this machine: function URLs lead to it.

import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { GenericContainer, getContainerRuntimeClient, getReaper, LABEL_TESTCONTAINERS_SESSION_ID, Network, RandomPortGenerator, Wait } from "testcontainers";
import { BEHAVIOUR, type LocalStack } from "./behaviour.ts";

const IMAGE = "localstack/localstack:4.13.1";
const ENGINE_LIMIT_MS = 5_000;
const START_LIMIT_MS = 300_000;
const EXECUTOR = fileURLToPath(new URL("./host/executor", import.meta.url));
const PATCHES = "/opt/tidemark";

/** Asks the engine itself: a client may be installed without one, and an address may lead nowhere. */
export async function engineRuns(): Promise<boolean> {
  const found = getContainerRuntimeClient().then(
    () => true,
    () => false,
  );
  return await Promise.race([found, sleep(ENGINE_LIMIT_MS, false, { ref: false })]);
}

export async function startContainer(): Promise<LocalStack> {
  const engine = await getContainerRuntimeClient();
  const { sessionId } = await getReaper(engine);
  console.error(`starting ${IMAGE} (the first time it is pulled)…`);
  const network = await new Network().start();
  // The same port inside and outside, so that the URLs that LocalStack gives out hold for tests and functions alike.
  const port = await new RandomPortGenerator().generatePort();
  const name = `tidemark-localstack-${sessionId}`;
  const { info } = engine;
  const container = await new GenericContainer(IMAGE)
    .withName(name)
    .withNetwork(network)
    .withExposedPorts({ container: port, host: port })
    .withEnvironment({
      GATEWAY_LISTEN: `0.0.0.0:${port}`,
      // Resolves to LocalStack in the functions' containers, and to this machine elsewhere.
      LOCALSTACK_HOST: `localhost.localstack.cloud:${port}`,
      MAIN_CONTAINER_NAME: name,
      LAMBDA_DOCKER_NETWORK: network.getName(),
      // So that the functions' containers too are removed when this process dies.
      LAMBDA_DOCKER_FLAGS: `-l ${LABEL_TESTCONTAINERS_SESSION_ID}=${sessionId}`,
      // The functions are for arm64, and are the same bytes for any other.
      LAMBDA_IGNORE_ARCHITECTURE: "1",
      ...BEHAVIOUR,
    })
    .withBindMounts([{ source: info.containerRuntime.remoteSocketPath, target: "/var/run/docker.sock" }])
    .withCopyDirectoriesToContainer([{ source: EXECUTOR, target: PATCHES }])
    .withCopyContentToContainer([
      { content: `import sys; sys.path.append("${PATCHES}"); import patches; patches.apply()`, target: "/etc/localstack/init/start.d/patches.py" },
    ])
    .withWaitStrategy(Wait.forHttp("/_localstack/health", port))
    .withStartupTimeout(START_LIMIT_MS)
    .start();
  const stop = async () => {
    await container.stop();
    await network.stop();
  };
  return { endpoint: `http://${container.getHost()}:${port}`, how: "container", stop };
}
