/** `servers` of a resource in CONFIG_FILE: several MCP servers as one, each as it would be as a resource, but for `name` and `scopes`. */
import type {
  BackendNeeds,
  BackendSettings,
  MergedReach,
  OneReach,
} from "../mcp/backends/backend-settings.ts";
import { mergedNeeds } from "../mcp/backends/merged-names.ts";
import type { Mistake } from "../yaml/mistakes.ts";
import type { Path } from "../yaml/yaml-text.ts";
import {
  COMMAND_SERVER_KEYS,
  commandServerMistakes,
  commandServerOf,
  isCommandServer,
} from "./command-server.ts";
import { entriesOf, isMap, unknownKeys } from "./file-keys.ts";
import { isRemoteServer, REMOTE_SERVER_KEYS, remoteServerMistakes, remoteServerOf } from "./remote-server.ts";

/** Whether an entry of `resources` is several servers. */
export function isMergedServers(entry: unknown): boolean {
  return isMap(entry) && Object.hasOwn(entry, "servers");
}

/** What ends it in the names of tools and in URIs is not in it. */
const SERVER_NAME = /^[a-z][a-z0-9-]{0,15}$/;

/** Everything that is wrong with them. */
export function mergedServersMistakes(entry: Record<string, unknown>, at: Path): Mistake[] {
  const place = [...at, "servers"];
  const servers = entriesOf(entry.servers);
  if (!isMap(entry.servers) || servers.length === 0)
    return [
      {
        at: place,
        problem: "has no server",
        remedy:
          "write them by the names that shall be before those of their tools, such as crm: { server: http://crm:8000/mcp, needs: … }",
      },
    ];
  return servers.flatMap(([name, server]) => [
    ...(SERVER_NAME.test(name)
      ? []
      : [
          {
            at: [...place, name],
            problem: "is no name that can stand before those of tools",
            remedy: "write at most 16 small letters, digits and -, such as crm",
          },
        ]),
    ...mistakesOf(server, entry.scopes, [...place, name]),
  ]);
}

function mistakesOf(server: unknown, scopes: unknown, at: Path): Mistake[] {
  const neither = {
    at,
    problem: "does not say how the server is reached",
    remedy: "add server: with its URL, or command: with the program to start",
  };
  if (!isMap(server) || isRemoteServer(server) === isCommandServer(server)) return [neither];
  const keys = isRemoteServer(server) ? REMOTE_SERVER_KEYS : COMMAND_SERVER_KEYS;
  const mistakes = isRemoteServer(server) ? remoteServerMistakes : commandServerMistakes;
  return [
    ...unknownKeys(server, at, { known: [...keys, "needs"] }),
    ...mistakes({ ...server, ...(scopes !== undefined && { scopes }) }, at),
  ];
}

/** Those in which nothing is wrong. */
export function mergedServersOf(entry: Record<string, unknown>): BackendSettings & { reach: MergedReach } {
  const settings = entriesOf(entry.servers).map(([name, server]) => {
    const one = server as Record<string, unknown>;
    return [name, isRemoteServer(one) ? remoteServerOf(one) : commandServerOf(one)] as const;
  });
  const servers = new Map<string, OneReach>(settings.map(([name, { reach }]) => [name, reach]));
  const needs = new Map<string, BackendNeeds>(settings.map(([name, each]) => [name, each.needs]));
  const maxAnswerBytes = Math.max(...[...servers.values()].map((reach) => reach.maxAnswerBytes));
  return { reach: { kind: "merged", servers, maxAnswerBytes }, needs: mergedNeeds(needs) };
}
