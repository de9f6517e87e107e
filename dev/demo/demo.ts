/**
 * `npm run demo`: the whole server beside an embedded identity provider and made-up weather. Nothing to configure, nothing
 * leaves this computer; the memory store forgets everything at the end. With `--tools FILE` it has that module's tools, with
 * `--providers 2` two identity providers, with `--backend` another MCP server behind it.
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
import { writeYaml } from "../../src/yaml/write-yaml.ts";
import { commandLine, isFromSources } from "../command-line.ts";
import { CALLERS } from "../walkthrough/callers.ts";
import type { DemoBackend } from "./backend.ts";
import { CRM_PATH } from "./callers.ts";
import { demoLog } from "./log.ts";
import { withOrders } from "./orders-tools.ts";
import { startProblem, startRuntime, whereItIs } from "./runtime.ts";
import { DEMO_SERVER } from "./server.ts";
import { demoPort, demoProviders, demoSettings, expectNoFile } from "./settings.ts";
import { withCallers } from "./trust.ts";

// In a container, whose published ports arrive at its own address, 0.0.0.0; every URL says localhost all the same.
const host = process.env.DEMO_HOST || "127.0.0.1";

/** Between npm's own arguments and ours. */
const separator = isFromSources ? " --" : "";

try {
  const options = {
    tools: { type: "string" },
    providers: { type: "string" },
    backend: { type: "boolean", default: false },
  } as const;
  const { tools, backend, ...values } = parseArgs({ options }).values;
  const port = demoPort(process.env);
  const providers = demoProviders(values.providers, process.env);
  if (backend) expectNoFile(process.env, "--backend");
  await start(port, { tools, providers, backend }).catch((error: unknown) => {
    const said = process.argv.slice(2).map((each) => ` ${each}`);
    const command = `${commandLine("demo")}${said.length === 0 ? "" : separator}${said.join("")}`;
    throw new Error(startProblem(error, port, command, providers));
  });
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}

interface Asked {
  tools: string | undefined;
  providers: 1 | 2;
  backend: boolean;
}

async function start(port: number, { tools, providers, backend: hasBackend }: Asked): Promise<void> {
  const { given, ignored } = demoSettings(process.env, "records are kept in memory");
  if (ignored !== undefined) console.log(ignored);
  const { identityProvider, issuers, platform, orders, backend, environment, offer, close } =
    await startRuntime({
      port,
      providers,
      backend: hasBackend,
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
  const loaded = await loadFeatures(configured);
  const { source } = configured.resources[0];
  const isOurs = source.kind === "tools" && source.module === undefined;
  const features = isOurs ? withOrders(loaded, orders) : loaded;
  offer([...Object.keys(features.scopes), ...(backend?.scopes ?? [])]);
  // Nobody signed in for a program: there is no name in which it could call another API.
  const config = withCallers(configured, { issuer, platform, scopes: Object.keys(loaded.scopes) });
  const app = await openApp(
    config,
    features,
    { log: demoLog(config.logLevel) },
    {
      records: memoryStore(),
    },
  );
  const server = await listenWith(app, config, { stopOnSignals: false });
  console.log(instructions(config, issuers, { hasOrders: isOurs, backend }));

  const stop = async () => {
    await server.stop();
    await close();
    process.exit(0);
  };
  process.once("SIGINT", () => void stop());
  process.once("SIGTERM", () => void stop());
}

function instructions(
  config: Config,
  issuers: readonly string[],
  { hasOrders, backend }: { hasOrders: boolean; backend: DemoBackend | undefined },
): string {
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
${hasOrders ? exchanging(`${walkthrough}${separator} --exchange`) : ""}${backend === undefined ? "" : behind(backend, config, `${walkthrough}${separator} --backend`)}
Or connect your own client, as ${baseUrl} shows in a browser, or so:

${connectText(connectGuides({ name: brand.name, url }))}

${WITHOUT_BROWSER}

${connectText(programGuides({ url, baseUrl }, programAccess(config)))}

Stop with Ctrl+C.
`;
}

/** Of the demo's own tools. */
function exchanging(walkthrough: string): string {
  return `
A tool that calls another API in the person's name:

  ${walkthrough}
`;
}

/** Of the server behind this one: where it is, how its operator says so, and what to try. */
function behind(
  { url, resources: { [CRM_PATH]: crm } }: DemoBackend,
  { baseUrl }: Config,
  walkthrough: string,
): string {
  const said = writeYaml({ resources: { [CRM_PATH]: crm } }).trimEnd();
  return `
Another MCP server, unchanged and without a sign-in of its own, is behind this one at ${baseUrl}${CRM_PATH}:

  ${walkthrough}
  claude mcp add --transport http crm ${baseUrl}${CRM_PATH}

All that this server is told of it, in CONFIG_FILE:

${said.replaceAll(/^/gm, "  ")}

Who calls it past this server, at ${url}, may do everything: keep yours where only this server reaches it.
`;
}
