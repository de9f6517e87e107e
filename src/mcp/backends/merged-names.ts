/**
 * What belongs to which of several backends behind one resource: `crm_find`, `crm+file:///readme`. A server's name has neither `_` nor
 * `+` nor `:`, so that the first one ends it.
 */
import { z } from "zod";
import { parseJson } from "../../oauth/json.ts";
import type { BackendNeeds, NeededScopes } from "./backend-settings.ts";

const SEPARATORS = { name: "_", uri: "+", id: ":" } as const;
type Named = keyof typeof SEPARATORS;

/** Of a tool or a prompt; of a resource or a template; or the id of what a server asks. */
export function prefixed(kind: Named, server: string, value: string): string {
  return `${server}${SEPARATORS[kind]}${value}`;
}

/** Whose it is, and what it is there. */
export function unprefixed(kind: Named, value: unknown): { server: string; value: string } | undefined {
  if (typeof value !== "string") return undefined;
  const at = value.indexOf(SEPARATORS[kind]);
  return at < 1 ? undefined : { server: value.slice(0, at), value: value.slice(at + 1) };
}

/** The needs of each, as those of all. */
export function mergedNeeds(byServer: ReadonlyMap<string, BackendNeeds>): BackendNeeds {
  const merged = (kind: "name" | "uri", of: (needs: BackendNeeds) => NeededScopes): NeededScopes =>
    new Map(
      [...byServer].flatMap(([server, needs]) =>
        [...of(needs)].map(([name, scopes]) => [prefixed(kind, server, name), scopes] as const),
      ),
    );
  return {
    tools: merged("name", ({ tools }) => tools),
    resources: merged("uri", ({ resources }) => resources),
    prompts: merged("name", ({ prompts }) => prompts),
  };
}

/** Something of each server, as one text: their sessions, or where their lists go on. */
const PerServer = z.record(z.string(), z.string().nullable());
type PerServer = z.infer<typeof PerServer>;

export function joined(values: PerServer): string {
  return Buffer.from(JSON.stringify(values)).toString("base64url");
}

/** Undefined if it is none of ours. */
export function parted(text: string): PerServer | undefined {
  return PerServer.safeParse(parseJson(Buffer.from(text, "base64url").toString("utf8"))).data;
}
