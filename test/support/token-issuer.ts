/** An issuer of JWTs beside the identity provider: its metadata and keys over HTTP, and tokens of any kind, good or bad. */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { exportJWK, generateKeyPair, type JWK, SignJWT } from "jose";
import type { ClientElsewhere } from "../../src/identity/oidc/authenticated-post.ts";
import type { IdJagIssuer } from "../../src/issuers/trusted-issuer.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../src/oauth/jwt.ts";

/** As it is trusted for identity assertions, unless said otherwise. */
export function idJagIssuer(
  { issuer }: Pick<TokenIssuer, "issuer">,
  changes: Partial<IdJagIssuer> = {},
): IdJagIssuer {
  return {
    accept: "id-jag",
    issuer,
    algorithms: ASYMMETRIC_ALGORITHMS,
    timeoutSeconds: 10,
    subject: "sub",
    publicClients: false,
    ...changes,
  };
}

/** As which its opaque tokens are looked up there. */
export function lookUpClient(clientId = "mcp", secret = "secret"): ClientElsewhere {
  return { clientId, credential: { kind: "secret", secret }, tokenEndpointAuthMethod: "client_secret_basic" };
}

export interface Key {
  alg: string;
  kid: string;
  privateKey: Awaited<ReturnType<typeof generateKeyPair>>["privateKey"];
  jwk: JWK;
}

export type Claims = Record<string, unknown>;

export interface TokenIssuer {
  readonly issuer: string;
  /** With which it signs. */
  readonly key: Key;
  /** How often each path was asked for. */
  readonly asked: Map<string, number>;
  /** What it answers instead: an HTTP status, or nothing at all. */
  trouble: number | "silence" | undefined;
  /** What introspection answers of a token (RFC 7662 §2.2); of others `{"active":false}`. */
  readonly introspected: Map<string, unknown>;
  /** What introspection was asked with. */
  readonly introspections: Array<{
    authorization: string | undefined;
    token: string | null;
    /** Of a client that signs (RFC 7523 §2.2). */
    assertion: string | null;
  }>;
  /** A JWT of these claims; `iss`, `iat`, `exp` (in five minutes) and `jti` are there unless they are said otherwise, or undefined. */
  sign(claims: Claims, header?: { typ?: string | undefined; kid?: string; key?: Key }): Promise<string>;
  /** Another key from now on; the old one is published as before unless it is dropped. */
  rotate(options?: { drop: boolean }): Promise<void>;
}

export async function newKey(alg = "ES256", kid: string = randomUUID()): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { alg, kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg } };
}

/** @param now seconds since the epoch, for the times of its tokens */
export async function startTokenIssuer(
  t: { after(close: () => void): void },
  now: () => number = () => Math.floor(Date.now() / 1000),
): Promise<TokenIssuer> {
  let keys = [await newKey()];
  const asked = new Map<string, number>();
  const server = createServer(async (req, res) => {
    const path = req.url ?? "";
    asked.set(path, (asked.get(path) ?? 0) + 1);
    if (tokenIssuer.trouble === "silence") return;
    if (tokenIssuer.trouble !== undefined) return void res.writeHead(tokenIssuer.trouble).end();
    const document =
      path === "/introspect"
        ? introspection(req.headers.authorization, new URLSearchParams(await text(req)))
        : documents()[path];
    res.writeHead(document === undefined ? 404 : 200, { "content-type": "application/json" });
    res.end(JSON.stringify(document ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const issuer = `http://localhost:${(server.address() as AddressInfo).port}`;
  const documents = (): Record<string, unknown> => ({
    "/.well-known/openid-configuration": {
      issuer,
      jwks_uri: `${issuer}/keys`,
      introspection_endpoint: `${issuer}/introspect`,
    },
    "/keys": { keys: keys.map(({ jwk }) => jwk) },
  });
  function introspection(authorization: string | undefined, form: URLSearchParams): unknown {
    const token = form.get("token");
    tokenIssuer.introspections.push({ authorization, token, assertion: form.get("client_assertion") });
    return tokenIssuer.introspected.get(token ?? "") ?? { active: false };
  }
  const tokenIssuer: TokenIssuer = {
    issuer,
    get key() {
      return keys[0] as Key;
    },
    asked,
    introspected: new Map(),
    introspections: [],
    trouble: undefined,
    async sign(claims, { typ = "JWT", kid, key = keys[0] } = {}) {
      if (key === undefined) throw new Error("There is no key");
      const payload = { iss: issuer, iat: now(), exp: now() + 300, jti: randomUUID(), ...claims };
      const header = { alg: key.alg, kid: kid ?? key.kid, ...(typ !== "" && { typ }) };
      return new SignJWT(JSON.parse(JSON.stringify(payload))).setProtectedHeader(header).sign(key.privateKey);
    },
    async rotate({ drop } = { drop: false }) {
      keys = [await newKey(), ...(drop ? [] : keys)];
    },
  };
  return tokenIssuer;
}
