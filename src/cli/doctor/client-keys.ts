/** Can the keys be read with which clients from CLIENTS prove who they are (`jwks_uri`)? */

import type { ConfiguredClient } from "../../clients/configured-clients.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../oauth/jwt.ts";
import { checkOf, type Finding } from "./finding.ts";
import { keysAt } from "./provider-keys.ts";

const { ok, failure } = checkOf("clients.keys");

export async function checkClientKeys(
  clients: readonly ConfiguredClient[],
  timeoutMs: number,
): Promise<Finding[]> {
  const found = await Promise.all(
    clients.map(async ({ client_id: id, jwks_uri: uri, token_endpoint_auth_signing_alg: algorithm }) => {
      if (uri === undefined) return undefined;
      const algorithms = algorithm === undefined ? ASYMMETRIC_ALGORITHMS : [algorithm];
      const keys = await keysAt(uri, algorithms, timeoutMs);
      if ("problem" in keys)
        return failure(`The keys of the client ${id} (CLIENTS) cannot be read: ${keys.problem}`, keys.fix);
      if (keys.usable.length > 0)
        return ok(
          `The keys of the client ${id} (CLIENTS) can be read: they verify ${keys.usable.join(", ")}`,
        );
      return failure(
        `None of the ${keys.count} keys of the client ${id} (CLIENTS) at ${uri} can verify its signature`,
        `Let the client publish a key for ${algorithms.join(", ")} there, or correct its jwks_uri.`,
      );
    }),
  );
  return found.filter((finding) => finding !== undefined);
}
