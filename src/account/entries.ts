/**
 * Groups grants into the connected applications that a person distinguishes: by name, by where the client is, and by what it may use.
 * Pure.
 */
import { destination, isThisComputer } from "../oauth/redirect-uri.ts";
import { missingScopes, union } from "../oauth/scope.ts";
import type { ConnectedApplication } from "./list.ts";

export interface Entry {
  /** Text of a stranger; undefined if it gave none. */
  name: string | undefined;
  place: string;
  vouchedBy: ConnectedApplication["vouchedBy"];
  clientId: string;
  /** See {@link ConnectedApplication}: all of it is for one. */
  resource: string;
  resourceName: string | undefined;
  createdAt: number;
  lastUsedAt: number | undefined;
  /** Of all together. */
  scopes: readonly string[];
  /** What the person approved for one of them, and none of them has: the identity provider does not give it. */
  notGiven: readonly string[];
  /** See {@link ConnectedApplication}: for one of them, or more. */
  letInByCompany: boolean;
  /** Newest first. */
  connections: readonly ConnectedApplication[];
}

/**
 * One entry for what looks the same: a client that registers anew on every computer is one client to its user, and so
 * are two sign-ins of one. What was used last comes first.
 */
export function entriesOf(connections: readonly ConnectedApplication[]): Entry[] {
  const groups = new Map<string, ConnectedApplication[]>();
  for (const connection of connections) {
    const key = lookOf(connection);
    groups.set(key, [...(groups.get(key) ?? []), connection]);
  }
  const activity = ({ createdAt, lastUsedAt = createdAt }: Entry) => lastUsedAt;
  return [...groups.values()].flatMap(entryOf).sort((one, other) => activity(other) - activity(one));
}

/** Everything of it that is shown. A name that a web site vouches for never joins one that nobody does. */
function lookOf(connection: ConnectedApplication): string {
  const { clientName, vouchedBy, clientId, resource } = connection;
  const isItsId = clientName === undefined || vouchedBy === "document";
  return JSON.stringify([clientName, placeOf(connection), vouchedBy, isItsId ? clientId : "", resource]);
}

function entryOf(connections: readonly ConnectedApplication[]): Entry[] {
  const newestFirst = [...connections].sort((one, other) => other.createdAt - one.createdAt);
  const [newest] = newestFirst;
  if (newest === undefined) return [];
  const scopes = union(...connections.map((each) => each.scopes));
  const uses = connections.flatMap(({ lastUsedAt }) => lastUsedAt ?? []);
  return [
    {
      name: newest.clientName,
      place: placeOf(newest),
      vouchedBy: newest.vouchedBy,
      clientId: newest.clientId,
      resource: newest.resource,
      resourceName: newest.resourceName,
      createdAt: Math.min(...connections.map(({ createdAt }) => createdAt)),
      lastUsedAt: uses.length === 0 ? undefined : Math.max(...uses),
      scopes,
      notGiven: missingScopes(union(...connections.map((each) => each.notGiven)), scopes),
      letInByCompany: connections.some((each) => each.letInByCompany),
      connections: newestFirst,
    },
  ];
}

/** What every one of `entries` may do, or was not given: said once. */
export function shared([first, ...others]: readonly Entry[], what: "scopes" | "notGiven"): string[] {
  return (first?.[what] ?? []).filter((scope) => others.every((entry) => entry[what].includes(scope)));
}

/** What all of them are for; undefined if that is not the same. */
export function sharedResource([first, ...others]: readonly Entry[]): string | undefined {
  return others.every(({ resource }) => resource === first?.resource) ? first?.resource : undefined;
}

export const NAMELESS = "An application without a name";

/** What was ended of `entries`, in words. */
export function inWords(
  entries: readonly Entry[],
  isEnded: (connection: ConnectedApplication) => boolean,
): string[] {
  const isForOne = sharedResource(entries) !== undefined;
  return entries.flatMap(({ name = NAMELESS, resource, resourceName = resource, connections }) => {
    const ended = connections.filter(isEnded).length;
    if (ended === 0) return [];
    const what = isForOne ? name : `${name} (${resourceName})`;
    return ended === connections.length ? what : `${what} (${ended} of ${connections.length} sign-ins)`;
  });
}

function placeOf({ redirectUri }: ConnectedApplication): string {
  if (redirectUri === undefined) return "A program that signs in without a browser";
  // The port is left out: a native client uses another one at each sign-in.
  if (isThisComputer(redirectUri)) return "A program on your computer";
  const { protocol, host } = new URL(redirectUri);
  return protocol === "https:" ? host : `An app on your device (${destination(redirectUri)})`;
}
