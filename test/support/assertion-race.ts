/** Each assertion is sent to every replica several times at the same instant: which answers came back. */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SignJWT } from "jose";
import { postForm } from "./oauth-client.ts";
import { newKey, startTokenIssuer } from "./token-issuer.ts";

const SECRET = "the-secret-of-an-application-0123456789";
const CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/** Of one assertion, at each replica. */
const COPIES = 3;
/** Assertions that are under way at once. */
const AT_ONCE = 10;

export type Kind = "id-jag" | "workload" | "client-assertion";

/** The answer to a second use. */
export const REPLAYED: Record<Kind, string> = {
  "id-jag": "400 invalid_grant",
  workload: "400 invalid_grant",
  "client-assertion": "401 invalid_client",
};

export interface AssertionRace {
  /** Settings of a server that trusts the issuers of the race. */
  environment: Record<string, string>;
  /**
   * @param urls of the replicas, of which the first is the issuer's
   * @returns the answers to each assertion, such as `400 invalid_grant`, sorted
   */
  run(kind: Kind, urls: readonly string[], assertions: number): Promise<string[][]>;
}

export async function assertionRace(t: { after(close: () => void): void }): Promise<AssertionRace> {
  const [company, platform] = [await startTokenIssuer(t), await startTokenIssuer(t)];
  const key = await newKey();
  const { d: _private, ...publicKey } = key.jwk;
  const folder = mkdtempSync(join(tmpdir(), "assertion-race-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "server.yaml");
  writeFileSync(
    file,
    `issuers:
  - { issuer: "${company.issuer}", accept: id-jag }
  - { issuer: "${platform.issuer}", accept: workload, subjects: { "batch:*": { scopes: [weather:read] } } }
`,
  );
  const clients = [
    { client_id: "app", client_secret: SECRET, redirect_uris: ["https://app.example/cb"] },
    {
      client_id: "signing",
      jwks: { keys: [publicKey] },
      grant_types: ["client_credentials"],
      scope: "weather:read",
    },
  ];

  const signed: Record<Kind, (issuer: string, name: string) => Promise<Record<string, string>>> = {
    "id-jag": async (aud, name) => ({
      ...{ grant_type: JWT_BEARER, client_id: "app", client_secret: SECRET },
      assertion: await company.sign({ aud, sub: name, client_id: "app" }, { typ: "oauth-id-jag+jwt" }),
    }),
    // Without `jti`: what is signed is its name.
    workload: async (aud, name) => ({
      grant_type: JWT_BEARER,
      assertion: await platform.sign({ aud, sub: `batch:${name}`, jti: undefined }),
    }),
    "client-assertion": async (aud) => ({
      grant_type: "client_credentials",
      client_assertion_type: CLIENT_ASSERTION,
      client_assertion: await new SignJWT({ iss: "signing", sub: "signing", aud, jti: randomUUID() })
        .setProtectedHeader({ alg: key.alg, kid: key.kid })
        .setExpirationTime("4m")
        .sign(key.privateKey),
    }),
  };

  return {
    environment: {
      CONFIG_FILE: file,
      CLIENTS: JSON.stringify(clients),
      CLIENT_ID_METADATA: "off",
      // All come from here.
      TOKEN_REQUESTS_PER_ADDRESS_PER_MINUTE: "1000000",
      TOKEN_REQUESTS_PER_CLIENT_PER_MINUTE: "1000000",
    },
    async run(kind, urls, assertions) {
      const answers: string[][] = [];
      const everywhere = urls.flatMap((url) => Array.from({ length: COPIES }, () => url));
      const one = async () => {
        const form = await signed[kind](urls[0] ?? "", randomUUID());
        const all = await Promise.all(everywhere.map((url) => postForm(`${url}/token`, form)));
        return all.map(({ status, body }) => `${status} ${body.error ?? body.token_type}`).sort();
      };
      for (let begun = 0; begun < assertions; begun += AT_ONCE)
        answers.push(
          ...(await Promise.all(Array.from({ length: Math.min(AT_ONCE, assertions - begun) }, one))),
        );
      return answers;
    },
  };
}
