/**
 * `npm run demo`: the whole server beside an embedded identity provider and made-up weather. Nothing to configure, nothing
 * leaves this computer; the memory store forgets everything at the end. With `--tools FILE` it has that module's tools, with
 * `--providers 2` two identity providers.
 */
import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { type Config, loadConfig } from "../../src/config/config.ts";
import { connectGuides, programAccess, programGuides, WITHOUT_BROWSER } from "../../src/pages/connect.ts";
import { connectText } from "../../src/pages/connect-text.ts";
import { openApp } from "../../src/server/create-app.ts";
import { listenWith } from "../../src/server/serve.ts";
import { loadFeatures } from "../../src/server/tools-module.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { commandLine, isFromSources } from "../command-line.ts";
import { CALLERS } from "../walkthrough/callers.ts";
import { demoLog } from "./log.ts";
import { startProblem, startRuntime, whereItIs } from "./runtime.ts";
import { DEMO_SERVER } from "./server.ts";
import { demoPort, demoProviders, demoSettings } from "./settings.ts";
import { withCallers } from "./trust.ts";

// In a container, whose published ports arrive at its own address, 0.0.0.0; every URL says localhost all the same.
const host = process.env.DEMO_HOST || "127.0.0.1";

/** Between npm's own arguments and ours. */
const separator = isFromSources ? " --" : "";

try {
  const { values } = parseArgs({ options: { tools: { type: "string" }, providers: { type: "string" } } });
  const port = demoPort(process.env);
  const providers = demoProviders(values.providers, process.env);
  await start(port, values.tools, providers).catch((error: unknown) => {
    const command = `${commandLine("demo")}${providers === 1 ? "" : `${separator} --providers 2`}`;
    throw new Error(startProblem(error, port, command, providers));
  });
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}

async function start(port: number, tools: string | undefined, providers: 1 | 2): Promise<void> {
  const { given, ignored } = demoSettings(process.env, "records are kept in memory");
  if (ignored !== undefined) console.log(ignored);
  const { identityProvider, issuers, platform, environment, offer, close } = await startRuntime({
    port,
    providers,
    host,
    given,
    clientSecret: randomBytes(32).toString("base64url"),
    say: console.log,
    callers: true,
  });
  const { issuer } = identityProvider;
  const configured = loadConfig({
    SERVER_NAME: DEMO_SERVER.name,
    SERVER_DESCRIPTION: DEMO_SERVER.description,
    ...given,
    ...(tools !== undefined && { TOOLS_MODULE: tools }),
    ...environment,
    SECRET_KEY: randomBytes(48).toString("base64url"),
  });
  Object.assign(process.env, environment); // where tools read their settings
  const features = await loadFeatures(configured);
  const scopes = Object.keys(features.scopes);
  offer(scopes);
  const config = withCallers(configured, { issuer, platform, scopes });
  const app = await openApp(config, features, { log: demoLog(config.logLevel) }, memoryStore());
  const server = await listenWith(app, config, { stopOnSignals: false });
  console.log(instructions(config, issuers));

  const stop = async () => {
    await server.stop();
    await close();
    process.exit(0);
  };
  process.once("SIGINT", () => void stop());
  process.once("SIGTERM", () => void stop());
}

function instructions(config: Config, issuers: readonly string[]): string {
  const { baseUrl, resource: url, port, brand } = config;
  const walkthrough = `${port === 3000 ? "" : `URL=${url} `}${commandLine("walkthrough")}`;
  return `
mcp-oidc-proxy demo is running.

${whereItIs(url, ...issuers)}

See every hop of the flow, in another terminal:

  ${walkthrough}

As a program or a company would come, without anybody at a browser:

${Object.entries(CALLERS)
  .filter(([as]) => as !== "person")
  .map(([as, who]) => `  ${walkthrough}${separator} --as ${as.padEnd(13)}  # ${who}`)
  .join("\n")}

Or connect your own client, as ${baseUrl} shows in a browser, or so:

${connectText(connectGuides({ name: brand.name, url }))}

${WITHOUT_BROWSER}

${connectText(programGuides({ url, baseUrl }, programAccess(config)))}

Stop with Ctrl+C.
`;
}
