/** `authorizationServers` in CONFIG_FILE: those of other APIs, which believe what the identity provider asserts of a user (ID-JAG). */
import { z } from "zod";
import type { AuthorizationServerSettings } from "../identity/oidc/authorization-server.ts";
import { type Mistake, mistakesIn } from "../yaml/mistakes.ts";
import { checkClient, clientElsewhere, clientKeys } from "./client-elsewhere.ts";
import { isMap, listed, unknownKeys } from "./file-keys.ts";
import { textThat, timeoutSeconds } from "./file-values.ts";
import { issuerProblem } from "./origin-problem.ts";

const ServerKeys = z.object({
  issuer: textThat(issuerProblem),
  ...clientKeys,
  timeoutSeconds,
});

const Server = ServerKeys.superRefine(checkClient).transform(
  ({ issuer, timeoutSeconds, ...keys }): AuthorizationServerSettings => ({
    issuer,
    timeoutSeconds,
    client: clientElsewhere(keys, "auto"),
  }),
);

/** Those of a file in which nothing is wrong with them. */
export function authorizationServersOf(servers: unknown): AuthorizationServerSettings[] {
  return listed(servers).map((entry) => Server.parse(entry));
}

/** Everything that is wrong with them. */
export function authorizationServerMistakes(content: unknown): Mistake[] {
  if (!isMap(content) || content.authorizationServers === undefined) return [];
  const { authorizationServers: servers } = content;
  const at = (index: number) => ["authorizationServers", index];
  const named = listed(servers).map((entry) => (isMap(entry) ? entry.issuer : undefined));
  return [
    ...mistakesIn(servers, z.array(z.unknown()).min(1)).map((mistake) => ({
      ...mistake,
      at: ["authorizationServers", ...mistake.at],
    })),
    ...listed(servers).flatMap((entry, index) => [
      ...unknownKeys(entry, at(index), { known: Object.keys(ServerKeys.shape) }),
      ...mistakesIn(entry, Server).map((mistake) => ({ ...mistake, at: [...at(index), ...mistake.at] })),
    ]),
    ...named.flatMap((issuer, index): Mistake[] =>
      typeof issuer === "string" && named.indexOf(issuer) < index
        ? [{ at: [...at(index), "issuer"], problem: "is in two entries", remedy: "make one of them" }]
        : [],
    ),
  ];
}
