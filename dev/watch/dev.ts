/**
 * `npm run dev`: the demo for whoever writes a tool, in src/tools/ or in a module of their own (`--tools FILE`). The server is
 * replaced when a file of it changes, connected clients stay signed in, also when this is stopped and started again, and
 * every request is one line of the trace. This process keeps what must not be replaced: the port, the identity provider and the
 * weather. It listens on this computer only.
 */
import { dirname, join, resolve } from "node:path";
import { parseArgs, styleText } from "node:util";
import { connectGuides } from "../../src/pages/connect.ts";
import { connectText } from "../../src/pages/connect-text.ts";
import { commandLine, isFromSources, ROOT } from "../command-line.ts";
import { hasColour } from "../demo/log.ts";
import { startProblem, startRuntime, whereItIs } from "../demo/runtime.ts";
import { demoPort, demoSettings } from "../demo/settings.ts";
import { createProviderStorageInFile } from "../identity-provider/storage.ts";
import { startDevProxy } from "./dev-proxy.ts";
import { replaceableServer } from "./replaceable-server.ts";
import { openDevState } from "./state.ts";
import { typeCheck } from "./type-check.ts";
import { watchSources } from "./watch-sources.ts";

const HOST = "127.0.0.1";
const SERVER_NAME = "mcp-oidc-proxy dev";
const colour = hasColour();

try {
  const { values } = parseArgs({ options: { tools: { type: "string" } } });
  const port = demoPort(process.env);
  const tools = values.tools ?? (process.env.TOOLS_MODULE || undefined);
  if (tools === undefined && !isFromSources)
    throw new Error(`Name the module whose tools you write: ${commandLine("dev")} --tools tools.mjs`);
  await start(port, tools).catch((error: unknown) => {
    throw new Error(startProblem(error, port, commandLine("dev")));
  });
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}

async function start(port: number, tools: string | undefined): Promise<void> {
  const { given, ignored } = demoSettings(process.env, "records are kept in .dev/");
  if (ignored !== undefined) console.log(ignored);
  // First, because who has the port has the folder.
  const proxy = await startDevProxy(port);
  const state = await openDevState(resolve(".dev", String(port)));
  const runtime = await startRuntime({
    port,
    host: HOST,
    given,
    say: console.log,
    clientSecret: state.clientSecret,
    kept: { ...state, adapter: createProviderStorageInFile(state.identityProvider) },
  });
  const { identityProvider, environment } = runtime;
  const serverName = given.SERVER_NAME ?? SERVER_NAME;
  // Somebody's own module has a project of its own, which this one does not know.
  const types = tools === undefined ? typeCheck(ROOT, sayMistakes) : undefined;
  const server = replaceableServer({
    proxy,
    store: state.store,
    environment: {
      SERVER_NAME: serverName,
      // Whose computer it is may read what their tools are called with.
      AUDIT_ARGUMENTS: "on",
      // A call in flight may finish; the others wait for the new server.
      SHUTDOWN_SECONDS: "2",
      ...given,
      ...(tools !== undefined && { TOOLS_MODULE: tools }),
      ...environment,
      SECRET_KEY: state.secretKey,
    },
    onLoaded: (scopes) => runtime.offer(scopes),
    onReady(isFirst) {
      console.log(
        isFirst
          ? instructions(
              { name: serverName, url: `http://localhost:${port}/mcp` },
              identityProvider.issuer,
              tools,
            )
          : mark("green", "The change is in use"),
      );
      types?.restart();
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
  const folder = tools === undefined ? join(ROOT, "src") : dirname(resolve(tools));
  const sources = watchSources(folder, {
    changing: server.hold,
    changed: () => void server.replace(),
  });
  stopOnSignal(async () => {
    sources.close();
    types?.stop();
    await server.stop();
    await Promise.all([proxy.close(), runtime.close()]);
  });
  await server.replace();
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

function instructions(
  server: { name: string; url: string },
  issuer: string,
  tools: string | undefined,
): string {
  return `
mcp-oidc-proxy is running, for writing tools: change ${tools ?? "a file in src/"}, and call again.

${whereItIs(server.url, issuer)}

Connect your client once; it stays signed in:

${connectText(connectGuides(server))}

What it knows is in .dev/: delete that to begin anew. Stop with Ctrl+C.
`;
}
