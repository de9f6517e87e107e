/** `admin backend`: what an MCP server offers that is, or is to be put, behind this one. */
import { existsSync, writeFileSync } from "node:fs";
import { Command } from "commander";
import { type DescribedBackend, describedBackend } from "../../config/described-backend.ts";
import { remoteServerMistakes, remoteServerOf } from "../../config/remote-server.ts";
import { RESERVED_SEGMENTS } from "../../config/resources.ts";
import type { Environment } from "../../config/settings.ts";
import { unprefixed } from "../../mcp/backends/merged-names.ts";
import { type ListName, type OfferedEntry, offeredBy } from "../../mcp/backends/offered.ts";
import { askedServers } from "../../mcp/backends/offered-by-servers.ts";
import { driftedTools, pinsOf, readPins, writtenPins } from "../../mcp/backends/pins.ts";
import { counted } from "../../runtime/counted.ts";
import { InvalidValue } from "../../runtime/setting-problem.ts";
import { writeYaml } from "../../yaml/write-yaml.ts";
import { askingBackend } from "../asked-backend.ts";
import { type Context, EXIT, UsageError } from "./command.ts";
import { driftCounted, driftInWords } from "./drift-in-words.ts";
import { type Suggestion, suggestedEntry } from "./needs-suggestion.ts";
import type { Terminal } from "./terminal.ts";

/** Which server is meant: by its URL, or as CONFIG_FILE describes it. */
interface Which {
  config?: string;
  resource?: string;
}

const EVERYTHING = ["tools", "resources", "resourceTemplates", "prompts"] as const;
const NAME = /^[a-z0-9][a-z0-9-]{0,31}$/;

export function backendCommand({ terminal, finish, environment }: Context): Command {
  const backend = new Command("backend").description(
    "an MCP server that is, or is to be put, behind this one",
  );

  withWhich(backend.command("inspect"))
    .description("asks it what it offers, and writes an entry for CONFIG_FILE")
    .option("--name <name>", "what its path and its scopes begin with")
    .action(async (url: string | undefined, { name: named, ...which }: Which & { name?: string }) => {
      const { path, entry, reach } = whichBackend(url, which, named, environment);
      const { suggested, silent } = await suggestion(reach, url ?? path, named ?? nameIn(path), entry);
      const { entry: written, comments, leftOut, tools } = suggested;
      const above = ["resources", path];
      const content = { resources: { [path]: { ...entry, ...written } } };
      terminal.print(
        writeYaml(
          content,
          comments.map((each) => ({ ...each, above: [...above, ...each.above] })),
        ).trimEnd(),
      );
      if (leftOut.length > 0)
        terminal.say(
          `Left out, because needs cannot name it: ${leftOut.map((each) => JSON.stringify(each)).join(", ")}`,
        );
      terminal.say(
        `${counted(tools, "tool")}. A suggestion by what the server says of itself: read it before you use it.`,
      );
      for (const each of silent) terminal.say(`${each}. Its entry is as it was.`);
      finish(silent.length > 0 ? EXIT.problem : EXIT.done);
    });

  withPins(backend.command("pin"))
    .description("writes down the tools that it offers now as approved (pins): later ones count as drift")
    .option("--yes", "do not ask before what was approved is replaced")
    .action(async (url: string | undefined, { yes, ...which }: WhichPins & { yes?: true }) => {
      const { path, reach, file } = pinned(url, which, environment);
      const { tools, silent } = await askedForTools(reach, url ?? path);
      // What it offers would be written down as gone.
      if (silent.length > 0) throw new Error(`${silentInWords(silent)}: pin while all are up`);
      const { pins, unreadable } = pinsOf(tools);
      if (unreadable.length > 0)
        terminal.say(
          `Not pinned, because not everybody would read them alike: ${unreadable.map((each) => JSON.stringify(each)).join(", ")}`,
        );
      const drifted = existsSync(file) ? driftedTools(readPinsFor(file), tools) : [];
      if (drifted.length > 0) {
        terminal.say(driftInWords(drifted));
        if (!(await isApproved(driftCounted(drifted), yes, terminal))) return finish(EXIT.problem);
      }
      writeFileSync(file, writtenPins(pins));
      terminal.say(`${file} has ${counted(pins.size, "tool")}. The server reads it when it starts.`);
      finish(EXIT.done);
    });

  withPins(backend.command("drift"))
    .description("how its tools differ from those that were approved; ends with 1 if they do")
    .action(async (url: string | undefined, which: WhichPins) => {
      const { path, reach, file } = pinned(url, which, environment);
      const { tools, silent } = await askedForTools(reach, url ?? path);
      const all = readPinsFor(file);
      const pins = new Map([...all].filter(([tool]) => !silent.includes(serverOf(tool))));
      const drifted = driftedTools(pins, tools);
      if (drifted.length > 0) terminal.print(driftInWords(drifted));
      terminal.say(
        drifted.length === 0
          ? `${counted(pins.size, "tool")}, as they were approved.`
          : `${driftCounted(drifted)}. Approve what it offers now with: admin backend pin`,
      );
      if (silent.length > 0) terminal.say(`${silentInWords(silent)}: its tools were not compared.`);
      finish(drifted.length === 0 && silent.length === 0 ? EXIT.done : EXIT.problem);
    });
  return backend;
}

interface WhichPins extends Which {
  pins?: string;
}

function withPins(command: Command): Command {
  return withWhich(command).option(
    "--pins <file>",
    "the file of approved tools; left out: that of the resource",
  );
}

/** @throws UsageError, ConfigError */
function pinned(
  url: string | undefined,
  { pins, ...which }: WhichPins,
  environment: () => Environment,
): { path: string; reach: DescribedBackend["reach"]; file: string } {
  const found = whichBackend(url, which, undefined, environment);
  const file = pins ?? found.pins;
  if (file === undefined)
    throw new UsageError("Write --pins FILE, or pins: FILE into the resource in CONFIG_FILE");
  return { ...found, file };
}

/** @throws Error that says what to do */
function readPinsFor(file: string) {
  try {
    return readPins(file);
  } catch (error) {
    if (!(error instanceof InvalidValue)) throw error;
    throw new Error(`--pins ${error.problem}: ${error.remedy}`, { cause: error });
  }
}

/** To replace what was approved is to approve. */
async function isApproved(what: string, yes: true | undefined, { confirm, say }: Terminal): Promise<boolean> {
  if (yes) return true;
  if (confirm === undefined)
    throw new UsageError(`${what}. There is no terminal to ask on: say --yes if that is approved.`);
  if (await confirm(`${what}. Approve them? [y/N] `)) return true;
  say("Nothing was done.");
  return false;
}

function withWhich(command: Command): Command {
  return command
    .argument("[url]", "where it is: http://crm.internal:8000/mcp; or:")
    .option("--config <file>", "the file that describes it (CONFIG_FILE), with its key")
    .option("--resource <path>", "which resource of that file: /crm/mcp");
}

/**
 * For one server, or for each of several: those that do not answer keep their entries.
 * @throws Error if none answers as an MCP server
 */
async function suggestion(
  reach: DescribedBackend["reach"],
  which: string,
  name: string,
  { servers, scopes }: Readonly<Record<string, unknown>>,
): Promise<{ suggested: Omit<Suggestion, "entry"> & { entry: object; tools: number }; silent: string[] }> {
  if (reach.kind !== "merged") {
    const offered = await asked(reach, which, EVERYTHING);
    return { suggested: { ...suggestedEntry(name, offered), tools: offered.tools.length }, silent: [] };
  }
  const found = await Promise.all(
    [...reach.servers].map(async ([server, one]) => ({
      server,
      offered: await asked(one, `${which}#${server}`, EVERYTHING).catch((error: Error) => error),
    })),
  );
  const silent = found.flatMap(({ offered }) => (offered instanceof Error ? [offered] : []));
  const [first] = silent;
  if (first !== undefined && silent.length === found.length) throw first;
  const suggestions = found.flatMap(({ server, offered }) =>
    offered instanceof Error
      ? []
      : [{ server, tools: offered.tools.length, ...suggestedEntry(server, offered) }],
  );
  const written = servers as Readonly<Record<string, object>>;
  const entries = suggestions.map(({ server, entry: { needs } }) => [server, { ...written[server], needs }]);
  return {
    suggested: {
      entry: {
        // What the others need stays declared.
        scopes: Object.assign({}, scopes, ...suggestions.map(({ entry }) => entry.scopes)),
        servers: { ...written, ...Object.fromEntries(entries) },
      },
      comments: suggestions.flatMap(({ server, comments }) =>
        comments.map((each) => ({ ...each, above: ["servers", server, ...each.above] })),
      ),
      leftOut: suggestions.flatMap(({ leftOut }) => leftOut),
      tools: suggestions.reduce((sum, { tools }) => sum + tools, 0),
    },
    silent: silent.map(({ message }) => message),
  };
}

/**
 * The tools under the names that they have at the resource, and which of several servers do not say theirs.
 * @throws Error if none answers as an MCP server
 */
async function askedForTools(
  reach: DescribedBackend["reach"],
  which: string,
): Promise<{ tools: OfferedEntry[]; silent: Array<string | undefined> }> {
  const found = await askingBackend(reach, (backend, signal) =>
    Promise.all(
      askedServers(backend).map(async ({ server, tools }) => ({
        server,
        tools: await tools({ signal }).catch((error: Error) => error),
      })),
    ),
  );
  const errors = found.flatMap(({ tools }) => (tools instanceof Error ? [tools] : []));
  if (errors.length === found.length) throw noServer(which, errors[0]);
  return {
    tools: found.flatMap(({ tools }) => (tools instanceof Error ? [] : tools)),
    silent: found.filter(({ tools }) => tools instanceof Error).map(({ server }) => server),
  };
}

function silentInWords(silent: ReadonlyArray<string | undefined>): string {
  return `${silent.join(", ")} does not answer as an MCP server`;
}

/** Of one that is behind a resource with others. */
function serverOf(tool: string): string | undefined {
  return unprefixed("name", tool)?.server;
}

/** @throws UsageError, ConfigError */
function whichBackend(
  url: string | undefined,
  { config, resource }: Which,
  name = "backend",
  environment: () => Environment,
): Omit<DescribedBackend, "written"> & { path: string; entry: Readonly<Record<string, unknown>> } {
  if (!NAME.test(name) || RESERVED_SEGMENTS.includes(name))
    throw new UsageError(
      "--name: write small letters, digits and -, such as crm, and none of this server's own paths",
    );
  if ((url === undefined) === (resource === undefined) || (url !== undefined && config !== undefined))
    throw new UsageError("Write the URL of the server, or --config FILE --resource PATH");
  if (url !== undefined) {
    const entry = { server: url, needs: {} };
    const [mistake] = remoteServerMistakes(entry, []);
    if (mistake !== undefined) throw new UsageError(`${url} ${mistake.problem}: ${mistake.remedy}`);
    return { path: `/${name}/mcp`, entry: { name, server: url }, reach: remoteServerOf(entry).reach };
  }
  const variables = environment();
  const file = config ?? variables.CONFIG_FILE?.trim();
  if (!file) throw new UsageError("Write --config FILE, or set CONFIG_FILE");
  const path = resource ?? "";
  const { written, ...described } = describedBackend(file, path, variables);
  return { path, entry: withoutSecrets(written), ...described };
}

/** @param path of a resource, such as /crm/mcp */
function nameIn(path: string): string {
  const name =
    path
      .split("/")
      .find((segment) => segment !== "" && segment !== "mcp")
      ?.toLowerCase() ?? "";
  return NAME.test(name) ? name : "backend";
}

/** What is written out in the file, and is no variable there, becomes one. */
function withoutSecrets(entry: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const hidden = (values: unknown) =>
    Object.fromEntries(
      Object.entries(values as Record<string, string>).map(([name, value]) => [
        name,
        value.includes("${") ? value : `\${${name.toUpperCase().replaceAll("-", "_")}}`,
      ]),
    );
  return {
    ...entry,
    ...(entry.headers !== undefined && { headers: hidden(entry.headers) }),
    ...(entry.env !== undefined && { env: hidden(entry.env) }),
    ...(entry.servers !== undefined && {
      servers: Object.fromEntries(
        Object.entries(entry.servers as Record<string, Record<string, unknown>>).map(([server, each]) => [
          server,
          withoutSecrets(each),
        ]),
      ),
    }),
  };
}

/** @throws Error if it does not answer as an MCP server */
async function asked<List extends ListName>(
  reach: DescribedBackend["reach"],
  name: string,
  lists: readonly List[],
) {
  try {
    return await askingBackend(reach, (backend, signal) => offeredBy(backend, lists, { signal }));
  } catch (cause) {
    throw noServer(name, cause);
  }
}

function noServer(name: string, cause: unknown): Error {
  return new Error(`${name} does not answer as an MCP server`, { cause });
}
