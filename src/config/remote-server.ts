/**
 * `server` of a resource in CONFIG_FILE, in place of `tools`: an MCP server that stays as it is, to which this one passes requests on.
 * `scopes` describes what `needs` names.
 */
import { z } from "zod";
import type { BackendSettings, HttpReach } from "../mcp/backends/backend-settings.ts";
import { type Mistake, mistakesIn } from "../yaml/mistakes.ts";
import type { Path } from "../yaml/yaml-text.ts";
import { identityMistakes, identityOf } from "./backend-identity.ts";
import { backendBounds, backendNeedsMistakes } from "./backend-values.ts";
import { isMap } from "./file-keys.ts";
import { HeaderName } from "./header-name.ts";
import { below, neededScopes } from "./needs.ts";

const text = z.string().min(1);
const ServerUrl = text.refine(isServerUrl, {
  error: "write it in full, such as http://crm.internal:8000/mcp; a key belongs into headers",
  params: { problem: "is no URL of an MCP server, or has a user name or a fragment" },
});

/** RFC 9110 §5.5, without what not every server reads alike. */
const HeaderValue = text.refine((value) => /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value), {
  error: "write it in one line of ASCII, without spaces around it",
  params: { problem: "cannot be in a header" },
});

const RemoteServer = z.object({
  server: ServerUrl,
  health: ServerUrl.exactOptional(),
  audience: text.exactOptional(),
  headers: z.record(HeaderName, HeaderValue).default({}),
  ...backendBounds,
});

/** What a whole server needs of which nobody said more than where it is. */
const WHOLE_SERVER_SCOPE = "mcp:use";

/** The entry for such a server: nothing in it is for everybody, and everything for whoever was given that one scope. */
export function wholeServer(server: string) {
  const everything = { "*": [WHOLE_SERVER_SCOPE] };
  return {
    server,
    scopes: { [WHOLE_SERVER_SCOPE]: "Use its tools and what it shows" },
    needs: { tools: everything, resources: everything, prompts: everything },
  };
}

export const REMOTE_SERVER_KEYS = [...Object.keys(RemoteServer.shape), "identity"];

/** Whether an entry of `resources` is a server behind this one. */
export function isRemoteServer(entry: unknown): boolean {
  return isMap(entry) && Object.hasOwn(entry, "server");
}

/** Everything that is wrong with one. */
export function remoteServerMistakes(entry: Record<string, unknown>, at: Path): Mistake[] {
  return [
    ...below(at, mistakesIn(entry, RemoteServer)),
    ...identityMistakes(entry, at),
    ...backendNeedsMistakes(entry, at),
  ];
}

/** One in which nothing is wrong. */
export function remoteServerOf(entry: Record<string, unknown>): BackendSettings & { reach: HttpReach } {
  const { server: url, audience = url, ...reach } = RemoteServer.parse(entry);
  const identity = identityOf(entry.identity);
  return { reach: { kind: "http", url, audience, identity, ...reach }, needs: neededScopes(entry.needs) };
}

function isServerUrl(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, username, password, hash } = new URL(value);
  return /^https?:$/.test(protocol) && username === "" && password === "" && hash === "";
}
