/** `resources` in CONFIG_FILE: the protected resources, each with its path below BASE_URL and with what answers there. */
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { pathOf } from "../http/base-path.ts";
import { type AtLeastOne, DEFAULT_PROVIDER } from "../identity/identity-providers.ts";
import type { BackendSettings } from "../mcp/backends/backend-settings.ts";
import type { ScopeDeclarations } from "../oauth/scope-catalogue.ts";
import type { ForwardAuthSettings } from "../resource/forward-auth-settings.ts";
import type { SettingProblem } from "../runtime/setting-problem.ts";
import type { Mistake } from "../yaml/mistakes.ts";
import type { Path } from "../yaml/yaml-text.ts";
import { tokenServerMistakes } from "./backend-identity.ts";
import { PIN_KEYS, pinMistakes, pinSettings } from "./backend-values.ts";
import {
  COMMAND_SERVER_KEYS,
  commandServerMistakes,
  commandServerOf,
  isCommandServer,
} from "./command-server.ts";
import { entriesOf, isMap, unknownKeys } from "./file-keys.ts";
import { label } from "./file-values.ts";
import { forwardAuthMistakes, forwardAuthOf, isForwardAuth } from "./forward-auth.ts";
import { isMergedServers, mergedServersMistakes, mergedServersOf } from "./merged-servers.ts";
import {
  isRemoteServer,
  REMOTE_SERVER_KEYS,
  remoteServerMistakes,
  remoteServerOf,
  wholeServer,
} from "./remote-server.ts";

/** A protected resource, as it is configured. */
export interface ConfiguredResource {
  /** Below BASE_URL: begins with "/". */
  path: string;
  /** For people: on the consent page, for example. */
  name: string;
  /** The name of the identity provider where people sign in for it. Absent: the one that they choose. */
  identityProvider?: string;
  source: ResourceSource;
}

/** What answers at a resource. */
export type ResourceSource =
  /** The tools of a module; without one, of the first resource, those of the program or those that come with it. */
  | { kind: "tools"; module?: string }
  /** A backend behind a reverse proxy, which asks this server. */
  | { kind: "forwardAuth"; settings: ForwardAuthSettings; scopes: ScopeDeclarations }
  /** An MCP server to which this one passes requests on, or which it starts. */
  | { kind: "server"; settings: BackendSettings; scopes: ScopeDeclarations };

/** As the file describes it. */
export interface DescribedResource extends Omit<ConfiguredResource, "name" | "source"> {
  /** @param uri of the resource */
  source(uri: string): ResourceSource;
  /** The first one may have none: it has that of the server. */
  name?: string;
  /** Its name in messages: `resources./crm/mcp`. */
  key: string;
  /** `server.yaml:12`. */
  place: string;
}

/** Where the only resource is if the file names none. */
const DEFAULT_PATH = "/mcp";

/**
 * What this server answers itself: everything below the first segment of its own URLs. Of capital letters no notice is taken,
 * as when a request is answered.
 */
export const RESERVED_SEGMENTS: readonly string[] = [
  "auth",
  "authorize",
  "connections",
  "consent",
  "doctor",
  "favicon.ico",
  "healthz",
  "icon.svg",
  "introspect",
  "logout",
  "metrics",
  "readyz",
  "register",
  "revoke",
  "token",
];

/** The keys of which one says what answers at a resource, and which others may stand beside it. */
const BESIDE: Readonly<Record<string, readonly string[]>> = {
  tools: [],
  forwardAuth: ["scopes", "needs"],
  server: ["scopes", "needs", ...REMOTE_SERVER_KEYS, ...PIN_KEYS],
  command: ["scopes", "needs", ...COMMAND_SERVER_KEYS, ...PIN_KEYS],
  servers: ["scopes", ...PIN_KEYS],
};
/** MCP servers that this one passes requests on to. */
const BACKENDS = [
  { isOne: isRemoteServer, mistakes: remoteServerMistakes, of: remoteServerOf },
  { isOne: isCommandServer, mistakes: commandServerMistakes, of: commandServerOf },
  { isOne: isMergedServers, mistakes: mergedServersMistakes, of: mergedServersOf },
];
const SOURCES = Object.keys(BESIDE);
const KEYS = {
  known: [...new Set([...SOURCES, ...Object.values(BESIDE).flat()]), "name", "identityProvider"],
};

const text = z.string().min(1);
const Scopes = z.record(
  text,
  z.union([
    text,
    z.strictObject({
      description: text,
      required: z.boolean().exactOptional(),
      includes: z.array(text).exactOptional(),
      whenNeeded: z.boolean().exactOptional(),
    }),
  ]),
);
/** What the file has to have there. */
export const ResourceEntries = z.record(
  z.string(),
  z.looseObject({
    tools: text.optional(),
    name: label.optional(),
    identityProvider: text.optional(),
    scopes: Scopes.optional(),
  }),
);

/** The paths that the file gives resources, whether they are right or not. */
export function pathsOf(content: unknown): string[] {
  const paths = isMap(content) ? entriesOf(content.resources).map(([path]) => path) : [];
  return paths.length === 0 ? [DEFAULT_PATH] : paths;
}

/** What is wrong with the resources beside what the schema says. */
export function resourceMistakes(content: Record<string, unknown>): Mistake[] {
  const providers = entriesOf(content.identityProviders).map(([id]) => id);
  const entries = entriesOf(content.resources);
  return entries.flatMap(([path, entry], index) => {
    const at = ["resources", path];
    const before = entries.slice(0, index).map(([each]) => each);
    return [
      ...pathMistakes(path, before, at),
      ...(isMap(entry)
        ? [
            ...unknownKeys(entry, at, KEYS),
            ...sourceMistakes(entry, at, index === 0),
            ...(index > 0 && entry.name === undefined ? [nameless(at)] : []),
            ...tokenServerMistakes(entry, content.authorizationServers, at),
            ...providerMistakes(entry, providers.length === 0 ? [DEFAULT_PROVIDER] : providers, at),
          ]
        : []),
    ];
  });
}

function pathMistakes(path: string, before: readonly string[], at: Path): Mistake[] {
  const wrong = pathProblem(path) ?? twinProblem(path, before);
  return wrong === undefined ? [] : [{ at, ...wrong }];
}

type Wrong = Pick<Mistake, "problem" | "remedy">;

// What proxies decode, normalize or join differently could be another resource for each of them.
const SEGMENT = /^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$/;

function pathProblem(path: string): Wrong | undefined {
  const remedy = "write a path such as /crm/mcp";
  if (!path.startsWith("/")) return { problem: "is no path: it does not begin with /", remedy };
  if (path === "/") return { problem: "is where the home page is", remedy };
  if (path.endsWith("/")) return { problem: "ends with /", remedy: "remove that" };
  if (/[?#]/.test(path))
    return {
      problem: "has more than a path: a query or a fragment",
      remedy: "remove what begins with ? or #",
    };
  const [first = "", ...others] = path.slice(1).split("/");
  if ([first, ...others].some((segment) => segment.startsWith(".")))
    return { problem: "has a segment that begins with a dot", remedy };
  if (![first, ...others].every((segment) => SEGMENT.test(segment)))
    return { problem: 'has other characters than letters, digits, ".", "_", "~", "-" and "/"', remedy };
  if (RESERVED_SEGMENTS.includes(first.toLowerCase()))
    return { problem: `begins with /${first}, which this server has for itself`, remedy };
  return undefined;
}

function twinProblem(path: string, before: readonly string[]): Wrong | undefined {
  const twin = before.find((each) => each.toLowerCase() === path.toLowerCase());
  if (twin === undefined) return undefined;
  return {
    problem: `differs from ${twin} in capital letters alone, which make no difference`,
    remedy: "choose another path",
  };
}

function sourceMistakes(entry: Record<string, unknown>, at: Path, isFirst: boolean): Mistake[] {
  const sources = SOURCES.filter((key) => key in entry);
  const [source, second] = sources;
  if (second !== undefined)
    return [
      {
        at: [...at, second],
        in: at,
        problem: `has both ${source} and ${second}`,
        remedy: "keep the one that answers there, or make two resources",
      },
    ];
  const misplaced = Object.keys(entry).flatMap((key) => {
    const places = SOURCES.filter((each) => BESIDE[each]?.includes(key));
    const isElsewhere =
      places.length > 0 && !SOURCES.includes(key) && !places.some((place) => place in entry);
    return isElsewhere ? [keyElsewhere(key, places, at)] : [];
  });
  const backend = BACKENDS.find(({ isOne }) => isOne(entry));
  if (backend !== undefined) return [...backend.mistakes(entry, at), ...pinMistakes(entry, at), ...misplaced];
  if (isForwardAuth(entry)) return [...forwardAuthMistakes(entry, at), ...misplaced];
  if (source !== undefined || isFirst) return misplaced;
  return [
    ...misplaced,
    { at, problem: "does not say what answers there", remedy: `add one of ${SOURCES.join(", ")}` },
  ];
}

function keyElsewhere(key: string, places: readonly string[], at: Path): Mistake {
  return {
    at: [...at, key],
    in: at,
    problem: `has the key "${key}", which is one of a resource with ${places.join(" or ")}`,
    remedy: "remove it, or move it to that resource: tools say themselves what they need",
  };
}

function nameless(at: Path): Mistake {
  return {
    at,
    problem: "has no name, by which people tell it from the others",
    remedy: "add a name, such as name: CRM",
  };
}

function providerMistakes(
  { identityProvider }: Record<string, unknown>,
  providers: readonly string[],
  at: Path,
): Mistake[] {
  if (typeof identityProvider !== "string" || providers.includes(identityProvider)) return [];
  return [
    {
      at: [...at, "identityProvider"],
      problem: "is not the name of an identity provider of this file",
      remedy: `write ${providers.join(" or ")}, or leave it out`,
    },
  ];
}

/** The resources of a file in which nothing is wrong with them. */
export function describedResources(
  content: Record<string, unknown>,
  file: string,
  whereIs: (at: Path) => Pick<DescribedResource, "key" | "place">,
): DescribedResource[] {
  const entries = ResourceEntries.parse(content.resources ?? {});
  return Object.entries(entries).map(([path, entry]) => ({
    path,
    ...(entry.name !== undefined && { name: entry.name }),
    ...(entry.identityProvider !== undefined && { identityProvider: entry.identityProvider }),
    source: (uri: string) => sourceOf(entry, dirname(file), uri),
    ...whereIs(["resources", path]),
  }));
}

function sourceOf(
  entry: z.output<typeof ResourceEntries>[string],
  folder: string,
  uri: string,
): ResourceSource {
  const { scopes = {} } = entry;
  if (isForwardAuth(entry)) return { kind: "forwardAuth", settings: forwardAuthOf(entry, uri), scopes };
  const backend = BACKENDS.find(({ isOne }) => isOne(entry));
  if (backend !== undefined) {
    const pins = pinSettings(entry, folder);
    return { kind: "server", settings: { ...backend.of(entry), ...(pins && { pins }) }, scopes };
  }
  return { kind: "tools", ...(entry.tools !== undefined && { module: resolve(folder, entry.tools) }) };
}

/**
 * The resources of this server, by what the file says of them and by what else the configuration says.
 * @param toolsModule that of the first one
 * @param backendUrl of the server behind the only one, of which the file says nothing
 */
export function configuredResources(
  described: readonly DescribedResource[],
  {
    baseUrl,
    serverName,
    toolsModule,
    backendUrl,
  }: {
    baseUrl: string | undefined;
    serverName: string;
    toolsModule: string | undefined;
    backendUrl: string | undefined;
  },
): { resources: AtLeastOne<ConfiguredResource>; problems: SettingProblem[] } {
  const tools: ResourceSource = { kind: "tools", ...(toolsModule !== undefined && { module: toolsModule }) };
  const [first, ...others] = described;
  if (backendUrl !== undefined && first === undefined)
    return backendAlone(backendUrl, { serverName, toolsModule });
  if (first === undefined)
    return { resources: [{ path: DEFAULT_PATH, name: serverName, source: tools }], problems: [] };
  const configured = ({ key: _, place: __, ...each }: DescribedResource): ConfiguredResource => ({
    ...each,
    name: each.name ?? serverName,
    source: each.source(`${baseUrl}${each.path}`),
  });
  const here = configured(first);
  const source = here.source.kind === "tools" ? tools : here.source;
  const resources: AtLeastOne<ConfiguredResource> = [{ ...here, source }, ...others.map(configured)];
  const problems = described.flatMap(({ key, place }, index): SettingProblem[] => {
    const each = resources[index];
    const wrong = each && [
      ...namesakeProblem(each, resources.slice(0, index)),
      ...underBasePathProblem(each.path, baseUrl),
    ];
    return (wrong ?? []).map((problem) => ({ place, setting: key, ...problem }));
  });
  if (backendUrl !== undefined)
    problems.push({
      setting: BACKEND_URL,
      problem: `is set, and ${first.place} has resources`,
      remedy: "remove it, and describe that server there, or remove resources from the file",
    });
  if (here.source.kind !== "tools" && toolsModule !== undefined)
    problems.push({
      place: first.place,
      setting: first.key,
      problem: "is no module of tools, and TOOLS_MODULE is set",
      remedy: "remove TOOLS_MODULE, or give that module a resource of its own",
    });
  return { resources, problems };
}

/** What messages call it: who typed the option did not set the setting. */
const BACKEND_URL = "BACKEND_URL (--server)";

/** One server behind this one, and nothing else: by the same rules as in a file. */
function backendAlone(
  url: string,
  { serverName, toolsModule }: { serverName: string; toolsModule: string | undefined },
): ReturnType<typeof configuredResources> {
  const entry = wholeServer(url);
  const [mistake] = remoteServerMistakes(entry, []);
  const problems: SettingProblem[] = [];
  if (mistake !== undefined)
    problems.push({ setting: BACKEND_URL, problem: mistake.problem, remedy: mistake.remedy });
  if (toolsModule !== undefined)
    problems.push({
      setting: BACKEND_URL,
      problem: "is set beside TOOLS_MODULE (--tools)",
      remedy: "keep one of them, or give each a resource of its own in CONFIG_FILE",
    });
  const { scopes } = entry;
  const source: ResourceSource =
    mistake === undefined ? { kind: "server", settings: remoteServerOf(entry), scopes } : { kind: "tools" };
  return { resources: [{ path: DEFAULT_PATH, name: serverName, source }], problems };
}

/** People could not know what they consent to. */
function namesakeProblem({ name }: ConfiguredResource, before: readonly ConfiguredResource[]): Wrong[] {
  const namesake = before.find((each) => each.name.toLowerCase() === name.toLowerCase());
  if (namesake === undefined) return [];
  return [
    {
      problem: `has the name "${name}", like ${namesake.path}`,
      remedy: "give each a name of its own (the first has SERVER_NAME without one)",
    },
  ];
}

/** A reverse proxy may strip the path of BASE_URL or keep it: `/tools/mcp` could then be this one or `/mcp`. */
function underBasePathProblem(path: string, baseUrl: string | undefined): Wrong[] {
  const base = baseUrl !== undefined && URL.canParse(baseUrl) ? pathOf(baseUrl) : "";
  if (base === "" || !`${path}/`.toLowerCase().startsWith(`${base}/`.toLowerCase())) return [];
  return [
    {
      problem: `begins with ${base}, the path of BASE_URL, to which it is added`,
      remedy: "write the path below BASE_URL alone, or choose another",
    },
  ];
}
