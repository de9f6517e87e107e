/** `identity` of a resource with `server` in CONFIG_FILE: what its backend is told of a caller beside the signed identity. */
import { z } from "zod";
import type { BackendIdentity } from "../mcp/backends/backend-settings.ts";
import { apiProblem, apiRequest } from "../oauth/other-api.ts";
import type { IdentityPart } from "../resource/plain-identity.ts";
import { type Mistake, mistakesIn } from "../yaml/mistakes.ts";
import type { Path } from "../yaml/yaml-text.ts";
import { entriesOf, isMap, listed, unknownKeys } from "./file-keys.ts";
import { HeaderName } from "./header-name.ts";
import { below } from "./needs.ts";

/** Of a client's own these reach a backend: one would pass for an identity wherever that is not known. */
const OF_CLIENTS = ["user-agent"];

const name = HeaderName.exactOptional();
const Headers = z.object({
  user: name,
  email: name,
  groups: name,
  scopes: name,
  client: name,
} satisfies Record<IdentityPart, unknown>);
const text = z.string();
const Token = z
  .object({
    audience: text.exactOptional(),
    resource: text.exactOptional(),
    authorizationServer: text.exactOptional(),
    scopes: z.array(text).exactOptional(),
  })
  .superRefine((api, context) => {
    const remedy = apiProblem(api);
    if (remedy !== undefined)
      context.addIssue({ code: "custom", message: remedy, params: { problem: "names no API" } });
  })
  .transform((api) => apiRequest(api, "identity.token"));
const Identity = z.object({ headers: Headers.exactOptional(), token: Token.exactOptional() });

/** Everything that is wrong with that of an entry, if it has one. */
export function identityMistakes(
  { identity, headers }: Record<string, unknown>,
  entry: Path,
): readonly Mistake[] {
  if (identity === undefined) return [];
  const at = [...entry, "identity"];
  const { headers: written, token } = isMap(identity) ? identity : {};
  return [
    ...unknownKeys(identity, at, { known: Object.keys(Identity.shape) }),
    ...unknownKeys(written, [...at, "headers"], { known: Object.keys(Headers.shape) }),
    ...unknownKeys(token, [...at, "token"], { known: Object.keys(Token.in.shape) }),
    ...below(at, mistakesIn(identity, Identity)),
    ...headerMistakes(entriesOf(written), Object.keys(isMap(headers) ? headers : {}), [...at, "headers"]),
    ...(token !== undefined && isMap(headers) && "authorization" in headers
      ? [{ at: [...at, "token"], problem: "is sent as Authorization, which headers has, too", remedy: KEEP }]
      : []),
  ];
}

const KEEP = "keep one of them";

function headerMistakes(written: ReadonlyArray<[string, unknown]>, fixed: string[], at: Path): Mistake[] {
  return written.flatMap(([part, name], index) => {
    const problem = (is: string, remedy: string) => [
      { at: [...at, part], problem: `names the header ${name}, which ${is}`, remedy },
    ];
    if (typeof name !== "string") return [];
    if (OF_CLIENTS.includes(name) || name === "authorization")
      return problem("is for something else", "choose another, such as x-forwarded-user");
    if (fixed.includes(name)) return problem("headers has, too", KEEP);
    const isTwice = written.slice(0, index).some(([, other]) => other === name);
    return isTwice ? problem("is in two places", "give each a header of its own") : [];
  });
}

/**
 * A token can come only from an authorization server that the file describes.
 * @param authorizationServers all that it describes
 */
export function tokenServerMistakes(
  { identity }: Record<string, unknown>,
  authorizationServers: unknown,
  entry: Path,
): Mistake[] {
  const token = isMap(identity) && isMap(identity.token) ? identity.token : {};
  const { authorizationServer: named } = token;
  const known = listed(authorizationServers).some((server) => isMap(server) && server.issuer === named);
  if (typeof named !== "string" || known) return [];
  return [
    {
      at: [...entry, "identity", "token", "authorizationServer"],
      problem: "is none of authorizationServers",
      remedy: "describe it there, or write one of them as it stands there",
    },
  ];
}

/** One in which nothing is wrong. */
export function identityOf(identity: unknown): BackendIdentity {
  return Identity.parse(identity ?? {});
}
