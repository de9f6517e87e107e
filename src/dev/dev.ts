/**
 * `npm run dev`: the demo for whoever writes a tool. The server is replaced when a file of it changes, connected clients
 * stay signed in, also when this is stopped and started again, and every hop is a line in words. This process keeps what
 * must not be replaced: the port, the identity provider and the weather. It listens on this computer only.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { styleText } from "node:util";
import { connectGuides } from "../http/connect.ts";
import { connectText } from "../http/connect-text.ts";
import { demoPort, settingsToTry, startProblem, startSurroundings, whereItIs } from "./demo-surroundings.ts";
import { startFront } from "./dev-front.ts";
import { openDevState } from "./dev-state.ts";
import { createProviderStorageInFile } from "./identity-provider-storage.ts";
import { replaceableServer } from "./replaceable-server.ts";
import { typeCheck } from "./type-check.ts";
import { watchSources } from "./watch-sources.ts";

const HOST = "127.0.0.1";
const SERVER_NAME = "mcp-oidc-proxy dev";
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const colour = process.stdout.isTTY === true && !process.env.NO_COLOR;

try {
  const port = demoPort(process.env);
  await start(port).catch((error: unknown) => {
    throw new Error(startProblem(error, port, "npm run dev"));
  });
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}

async function start(port: number): Promise<void> {
  // First, because who has the port has the folder.
  const front = await startFront(port);
  const state = await openDevState(join(ROOT, ".dev", String(port)));
  const surroundings = await startSurroundings({
    port,
    host: HOST,
    scopes: [],
    clientSecret: state.clientSecret,
    kept: { ...state, adapter: createProviderStorageInFile(state.identityProvider) },
  });
  const { identityProvider, environment } = surroundings;
  const types = typeCheck(ROOT, sayMistakes);
  const server = replaceableServer({
    front,
    load: {
      environment: {
        ...environment,
        // Whose computer it is may read what their tools are called with.
        AUDIT_ARGUMENTS: "on",
        ...given(settingsToTry(process.env)),
        SERVER_NAME,
        SECRET_KEY: state.secretKey,
        // A call in flight may finish; the others wait for the new server.
        SHUTDOWN_SECONDS: "2",
      },
      store: state.store,
      colour,
    },
    onLoaded: (scopes) => surroundings.offer(scopes),
    onReady(isFirst) {
      console.log(
        isFirst
          ? instructions(`http://localhost:${port}/mcp`, identityProvider.issuer)
          : mark("green", "The change is in use"),
      );
      types.restart();
    },
    onSlow: () =>
      console.error(
        mark("yellow", "The server is still starting. Does something wait at the top of a file?"),
      ),
    onProblem(problem, lastGoodRuns) {
      const meanwhile = lastGoodRuns
        ? "The last good server keeps running."
        : "Calls are answered 503 until it is repaired.";
      console.error(`${mark("red", relative(problem))}\n  ${meanwhile}`);
    },
  });
  const sources = watchSources(join(ROOT, "src"), "dev", {
    changing: server.hold,
    changed: () => void server.replace(),
  });
  stopOnSignal(async () => {
    sources.close();
    types.stop();
    await server.stop();
    await Promise.all([front.close(), surroundings.close()]);
  });
  await server.replace();
}

/** Of settings that are not set nothing is passed on, so that they do not hide others. */
function given<T extends object>(settings: T): Partial<T> {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value)) as Partial<T>;
}

function stopOnSignal(stop: () => Promise<void>): void {
  let isStopping = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => {
      if (isStopping) return;
      isStopping = true;
      void stop().finally(() => process.exit(0));
    });
}

function sayMistakes(mistakes: string[]): void {
  if (mistakes.length === 0) {
    console.log(mark("green", "The types are right again"));
    return;
  }
  console.error(mark("yellow", "Types that are wrong (the code runs all the same):"));
  for (const mistake of mistakes) console.error(`  ${mistake.replace(/\((\d+),(\d+)\)/, ":$1:$2")}`);
}

function relative(problem: string): string {
  return problem.replaceAll(`file://${ROOT}`, "").replaceAll(ROOT, "");
}

function mark(style: "green" | "yellow" | "red", text: string): string {
  const sign = { green: "✓", yellow: "!", red: "✗" }[style];
  return `${colour ? styleText(style, sign) : sign} ${text}`;
}

function instructions(url: string, issuer: string): string {
  return `
mcp-oidc-proxy is running, for writing tools: change a file in src/, and call again.

${whereItIs(url, issuer)}

Connect your client once; it stays signed in:

${connectText(connectGuides({ name: SERVER_NAME, url }))}

What it knows is in .dev/: delete that to begin anew. Stop with Ctrl+C.
`;
}
