/**
 * `forwardAuth` of a resource in CONFIG_FILE, in place of `tools`: its backend is behind a reverse proxy, which asks /auth/check.
 * `scopes` describes what it and `needs` name.
 */
import { z } from "zod";
import { requiredScopes } from "../oauth/scope-requirement.ts";
import type { ForwardAuthSettings } from "../resource/forward-auth-settings.ts";
import { type Mistake, mistakesIn } from "../yaml/mistakes.ts";
import type { Path } from "../yaml/yaml-text.ts";
import { isMap, unknownKeys } from "./file-keys.ts";
import { below, neededScopes, needsMistakes, Scope, undeclared } from "./needs.ts";

const MIN_KEY_BYTES = 32;

const text = z.string().min(1);
const Key = text.refine((key) => Buffer.byteLength(key) >= MIN_KEY_BYTES && /^[\x21-\x7e]+$/.test(key), {
  error: "make one with: openssl rand -hex 32",
  params: { problem: `is no key: at least ${MIN_KEY_BYTES} printable ASCII characters without spaces` },
});
const ForwardAuth = z.object({
  key: z.union([Key, z.array(Key).min(1)]),
  audience: text.exactOptional(),
  /** What every request needs. */
  scopes: z.array(Scope).default([]),
  /** That its backend refuses headers which the body contradicts. Without it nothing is judged by them. */
  backendChecksHeaders: z.literal(true).exactOptional(),
});

/** Whether an entry of `resources` is a backend behind a reverse proxy. */
export function isForwardAuth(entry: unknown): boolean {
  return isMap(entry) && Object.hasOwn(entry, "forwardAuth");
}

/** Everything that is wrong with one. */
export function forwardAuthMistakes(entry: Record<string, unknown>, at: Path): Mistake[] {
  const { forwardAuth, needs, scopes } = entry;
  const inside = [...at, "forwardAuth"];
  const ofEveryRequest = isMap(forwardAuth) ? forwardAuth.scopes : undefined;
  return [
    ...unknownKeys(forwardAuth, inside, { known: Object.keys(ForwardAuth.shape) }),
    ...below(inside, mistakesIn(forwardAuth, ForwardAuth)),
    ...undeclared(ofEveryRequest, scopes, [...inside, "scopes"]),
    ...needsMistakes(entry, at),
    ...(needs !== undefined && isMap(forwardAuth) && forwardAuth.backendChecksHeaders !== true
      ? [
          {
            at: [...at, "needs"],
            problem:
              "is judged by headers that the client writes, and a backend that does not compare them with the body lets any tool be called",
            remedy:
              "set forwardAuth.backendChecksHeaders: true if the backend refuses a mismatch (MCP 2026-07-28), or remove needs",
          },
        ]
      : []),
  ];
}

/**
 * One in which nothing is wrong.
 * @param uri of the resource: what its backend is called if nothing else is said
 */
export function forwardAuthOf(entry: Record<string, unknown>, uri: string): ForwardAuthSettings {
  const { key, audience = uri, scopes } = ForwardAuth.parse(entry.forwardAuth);
  const settings = { keys: [key].flat(), audience, scopes: requiredScopes(scopes, "forwardAuth") };
  if (entry.needs === undefined) return settings;
  const { tools, resources, prompts } = neededScopes(entry.needs);
  return { ...settings, needs: { tool: tools, resource: resources, prompt: prompts } };
}
