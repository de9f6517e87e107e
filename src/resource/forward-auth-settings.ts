/** A backend behind a reverse proxy that asks this server, as it is configured. Without express: it is part of the public `Config`. */
import type { Feature } from "../access/policy.ts";
import type { RequiredScopes } from "../oauth/scope-requirement.ts";

/** How an operator describes a backend behind a reverse proxy. */
export interface ForwardAuthSettings {
  /** By one of these a proxy shows that it is one: two while it is replaced. */
  readonly keys: readonly string[];
  /** The backend, by the name that it knows itself by: the audience of the signed identity. */
  readonly audience: string;
  /** What every request needs. */
  readonly scopes: RequiredScopes;
  /**
   * What single features need, by the headers `Mcp-Method` and `Mcp-Name` (MCP 2026-07-28). Only for a backend that refuses a body
   * that says something else: the client writes both.
   */
  readonly needs?: { readonly [kind in Feature["kind"]]: ReadonlyMap<string, RequiredScopes> };
}
