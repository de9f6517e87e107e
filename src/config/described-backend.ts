/** One backend of CONFIG_FILE by itself, for who asks it what it offers: before its `needs` are written, and whatever else is there. */
import { dirname } from "node:path";
import type { BackendSettings } from "../mcp/backends/backend-settings.ts";
import { InvalidValue, type SettingProblem } from "../runtime/setting-problem.ts";
import { problemsByLine } from "../yaml/mistakes.ts";
import type { YamlText } from "../yaml/yaml-text.ts";
import { pinMistakes, pinSettings } from "./backend-values.ts";
import { commandServerMistakes, commandServerOf, isCommandServer } from "./command-server.ts";
import { ConfigError } from "./config.ts";
import { nameOf, readContent } from "./config-file.ts";
import { entriesOf, isMap } from "./file-keys.ts";
import { isMergedServers, mergedServersMistakes, mergedServersOf } from "./merged-servers.ts";
import { isRemoteServer, remoteServerMistakes, remoteServerOf } from "./remote-server.ts";
import type { Environment } from "./settings.ts";
import { expandVariables } from "./variables.ts";

export interface DescribedBackend {
  /** As it is written: variables are not replaced by their values. */
  readonly written: Readonly<Record<string, unknown>>;
  readonly reach: BackendSettings["reach"];
  /** The path of its file of approved tools, which may not be there yet. */
  readonly pins?: string;
}

const KINDS = [
  [isRemoteServer, remoteServerMistakes, remoteServerOf],
  [isCommandServer, commandServerMistakes, commandServerOf],
  [isMergedServers, mergedServersMistakes, mergedServersOf],
] as const;

/**
 * @param resource its path, such as /crm/mcp
 * @throws ConfigError
 */
export function describedBackend(file: string, resource: string, environment: Environment): DescribedBackend {
  const yaml = contentOf(file);
  const at = ["resources", resource];
  const refuse = (problem: string, remedy: string) =>
    new ConfigError([{ place: file, setting: nameOf(at), problem, remedy }]);
  if (yaml.problems.length > 0) throw new ConfigError(problemsByLine([], yaml, file, nameOf));
  const resources = isMap(yaml.value) ? entriesOf(yaml.value.resources) : [];
  const [, written] = resources.find(([path]) => path === resource) ?? [];
  if (!isMap(written))
    throw refuse(
      "is not there",
      `name one that is: ${resources.map(([path]) => path).join(", ") || "there is none"}`,
    );
  const [, mistakesOf, settingsOf] = KINDS.find(([isOne]) => isOne(written)) ?? [];
  if (mistakesOf === undefined || settingsOf === undefined)
    throw refuse("is no MCP server behind this one", "name a resource with server, command or servers");
  const { value, mistakes: unset } = expandVariables(withoutNeeds(written), environment);
  const entry = value as Record<string, unknown>;
  const mistakes = [
    ...mistakesOf(entry, at),
    ...pinMistakes(entry, at),
    ...unset.map((mistake) => ({ ...mistake, at: [...at, ...mistake.at] })),
  ];
  const problems: SettingProblem[] = problemsByLine(mistakes, yaml, file, nameOf);
  if (problems.length > 0) throw new ConfigError(problems);
  const { reach } = settingsOf(entry);
  const pins = pinSettings(entry, dirname(file));
  return { written, reach, ...(pins && { pins: pins.file }) };
}

/** Whoever asks what a server offers writes them afterwards. */
function withoutNeeds(entry: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const servers = entriesOf(entry.servers).map(([name, server]) => [
    name,
    isMap(server) ? { ...server, needs: {} } : server,
  ]);
  return { ...entry, needs: {}, ...(isMergedServers(entry) && { servers: Object.fromEntries(servers) }) };
}

function contentOf(file: string): YamlText {
  try {
    return readContent(file);
  } catch (error) {
    if (!(error instanceof InvalidValue)) throw error;
    throw new ConfigError([{ setting: file, problem: error.problem, remedy: error.remedy }]);
  }
}
