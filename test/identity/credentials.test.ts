/** What proves to the identity provider that this server is its client, at a real one: secrets and keys in files, platforms' tokens. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { decodeJwt, decodeProtectedHeader, type JWK, SignJWT } from "jose";
import { pino } from "pino";
import { Browser } from "../../dev/client/browser.ts";
import {
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import { loadConfig } from "../../src/config/config.ts";
import type { IdentityProvider } from "../../src/identity/identity-provider.ts";
import { createOidcProvider } from "../../src/identity/oidc/oidc.ts";
import { systemClock } from "../../src/runtime/runtime.ts";
import { signIn } from "../support/sign-in.ts";

const CLIENT_ID = "proxy";
const REDIRECT_URI = "http://localhost:9/auth/callback";
const ENVIRONMENT = {
  BASE_URL: "http://localhost:9",
  STORE: "memory",
  SECRET_KEY: "test-secret-key-with-more-than-32-bytes-0123456789",
  OIDC_CLIENT_ID: CLIENT_ID,
};

const folder = mkdtempSync(join(tmpdir(), "credentials-"));
after(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
const ed25519 = generateKeyPairSync("ed25519");
const pem = (key: KeyObject) => key.export({ format: "pem", type: "pkcs8" }).toString();
const publicJwk = (key: KeyObject, more: Partial<JWK> = {}) =>
  ({ ...key.export({ format: "jwk" }), use: "sig", ...more }) as JWK;

let provider: RunningIdentityProvider;
before(async () => {
  provider = await startIdentityProvider({
    port: 0,
    client: { id: CLIENT_ID, secret: "the-first-secret", redirectUris: [REDIRECT_URI] },
    audience: "https://weather.example.com",
    scopes: ["weather:read"],
    users: [{ subject: "alice", name: "Alice", email: "alice@example.com", permissions: ["weather:read"] }],
  });
});
after(() => provider.close());

/** This server as a client of the provider, and what it logs. */
function clientBy(environment: Record<string, string>, issuer = provider.issuer) {
  const lines: string[] = [];
  const {
    identityProviders: [settings],
  } = loadConfig({ ...ENVIRONMENT, OIDC_ISSUER: issuer, ...environment });
  const log = pino({ level: "info", base: null }, { write: (line: string) => void lines.push(line) });
  const client = createOidcProvider(settings, { now: systemClock, randomBytes, log });
  const reasons = () => lines.map((line) => JSON.parse(line).reason).filter(Boolean);
  return { client, lines, reasons };
}

async function login(client: IdentityProvider) {
  const request = {
    redirectUri: REDIRECT_URI,
    state: "state",
    nonce: "nonce",
    codeVerifier: "v".repeat(43),
    scopes: ["weather:read"],
  };
  const browser = new Browser({ stopAt: ({ href }) => href.startsWith(REDIRECT_URI) });
  const { searchParams } = await signIn(browser, await client.authorizationUrl(request));
  return await client.finishLogin(searchParams, request);
}

const refresh = (client: IdentityProvider, token = "") =>
  client.refresh(token, { issuer: "any", subject: "alice", renewable: [] });

const REJECTED = { reason: "client_credentials_rejected" };

describe("a private key", () => {
  const keys: Array<[name: string, content: string, jwk: JWK]> = [
    ["an RSA key in PEM", pem(rsa.privateKey), publicJwk(rsa.publicKey, { alg: "RS256" })],
    ["a P-256 key in PEM", pem(p256.privateKey), publicJwk(p256.publicKey)],
    [
      "an Ed25519 key as a JWK with its kid",
      JSON.stringify({ ...ed25519.privateKey.export({ format: "jwk" }), kid: "ours", alg: "EdDSA" }),
      publicJwk(ed25519.publicKey, { kid: "ours", alg: "EdDSA" }),
    ],
  ];
  for (const [name, content, jwk] of keys)
    test(`${name} signs in, renews and revokes`, async () => {
      provider.changeClient({ jwks: [jwk] });
      const { client } = clientBy({ OIDC_PRIVATE_KEY_FILE: file("key", content) });
      const { subject, tokens } = await login(client);
      assert.equal(subject, "alice");
      const { tokens: renewed } = await refresh(client, tokens.refreshToken);
      await client.revoke(renewed.refreshToken ?? "");
      await assert.rejects(refresh(client, renewed.refreshToken), { code: "invalid_grant" });
    });

  test("in the environment, with its line breaks escaped as some platforms do", async () => {
    provider.changeClient({ jwks: [publicJwk(p256.publicKey)] });
    const { client } = clientBy({ OIDC_PRIVATE_KEY: pem(p256.privateKey).replaceAll("\n", "\\n") });
    assert.equal((await login(client)).subject, "alice");
  });

  test("that the provider does not know is an error of this server's, and no end of a session", async () => {
    provider.changeClient({ jwks: [publicJwk(rsa.publicKey)] });
    const { client } = clientBy({ OIDC_PRIVATE_KEY: pem(p256.privateKey) });
    await assert.rejects(refresh(client, "any"), REJECTED);
  });

  test("that is replaced on disk is used from then on, and the one before as long as the provider wants it", async () => {
    const path = file("replaced", pem(rsa.privateKey));
    provider.changeClient({ jwks: [publicJwk(rsa.publicKey)] });
    const { client } = clientBy({ OIDC_PRIVATE_KEY_FILE: path });
    const { tokens } = await login(client);
    file("replaced", pem(p256.privateKey));
    const second = await refresh(client, tokens.refreshToken);
    provider.changeClient({ jwks: [publicJwk(p256.publicKey)] });
    const third = await refresh(client, second.tokens.refreshToken);
    assert.ok(third.tokens.accessToken);
  });
});

describe("an assertion", () => {
  /** Remembers what it is sent, and takes an audience. */
  const sent: URLSearchParams[] = [];
  let accepted = "issuer";
  const server = createServer(async (req, res) => {
    const json = (status: number, body: object) =>
      res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    const issuer = `http://localhost:${(server.address() as AddressInfo).port}`;
    const endpoints = { token_endpoint: `${issuer}/token`, authorization_endpoint: `${issuer}/auth` };
    if (req.method === "GET") return json(200, { issuer, jwks_uri: `${issuer}/keys`, ...endpoints });
    const fields = new URLSearchParams(await text(req));
    sent.push(fields);
    const { aud } = decodeJwt(fields.get("client_assertion") ?? "");
    return aud === (accepted === "issuer" ? issuer : `${issuer}/token`)
      ? json(200, { access_token: "a", token_type: "bearer", expires_in: 60 })
      : json(401, { error: "invalid_client" });
  });
  let issuer = "";
  before(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    issuer = `http://localhost:${(server.address() as AddressInfo).port}`;
  });
  after(() => void server.close());
  const assertions = () => sent.splice(0).map((fields) => fields.get("client_assertion") ?? "");

  test("says who it is from, is for the provider's issuer, ends within a minute and is never sent twice", async () => {
    accepted = "issuer";
    const { client } = clientBy({ OIDC_PRIVATE_KEY: pem(rsa.privateKey), OIDC_PRIVATE_KEY_ID: "k1" }, issuer);
    await refresh(client, "one");
    await refresh(client, "two");
    const [type] = sent.map((fields) => fields.get("client_assertion_type"));
    assert.equal(type, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert.deepEqual(
      sent.map((fields) => fields.get("client_secret")),
      [null, null],
    );
    const [first = "", second = ""] = assertions();
    assert.deepEqual(decodeProtectedHeader(first), { alg: "RS256", typ: "JWT", kid: "k1" });
    const { iss, sub, aud, iat = 0, exp = 0, jti } = decodeJwt(first);
    assert.deepEqual([iss, sub, aud, exp - iat], [CLIENT_ID, CLIENT_ID, issuer, 60]);
    assert.notEqual(jti, decodeJwt(second).jti);
  });

  test("is for the token endpoint where the provider insists on that, which is learned", async () => {
    accepted = "token endpoint";
    const { client } = clientBy({ OIDC_PRIVATE_KEY: pem(p256.privateKey) }, issuer);
    await refresh(client, "one");
    await refresh(client, "two");
    assert.deepEqual(
      assertions().map((each) => decodeJwt(each).aud),
      [issuer, `${issuer}/token`, `${issuer}/token`],
    );
  });

  test("names the certificate by its thumbprint, as Entra wants it", async () => {
    accepted = "issuer";
    const key = file("entra-key.pem", pem(rsa.privateKey));
    const certificate = join(folder, "entra-certificate.pem");
    execFileSync("openssl", [
      "req",
      "-x509",
      "-key",
      key,
      "-out",
      certificate,
      "-subj",
      "/CN=proxy",
      "-days",
      "1",
    ]);
    const { client } = clientBy(
      { OIDC_PRIVATE_KEY_FILE: key, OIDC_CERTIFICATE_FILE: certificate, OIDC_PRIVATE_KEY_ALGORITHM: "PS256" },
      issuer,
    );
    await refresh(client, "one");
    const { raw } = new X509Certificate(readFileSync(certificate));
    const [assertion = ""] = assertions();
    assert.deepEqual(decodeProtectedHeader(assertion), {
      alg: "PS256",
      typ: "JWT",
      "x5t#S256": createHash("sha256").update(raw).digest("base64url"),
    });
  });
});

describe("a client secret in a file", () => {
  before(() => provider.changeClient({ secret: "the-first-secret" }));

  test("takes effect when it changes; until the provider takes it, the one before does", async () => {
    const path = file("secret", "the-first-secret\n");
    const { client, lines } = clientBy({ OIDC_CLIENT_SECRET_FILE: path });
    const { tokens } = await login(client);
    file("secret", "the-second-secret\n");
    const second = await refresh(client, tokens.refreshToken);
    provider.changeClient({ secret: "the-second-secret" });
    const third = await refresh(client, second.tokens.refreshToken);
    assert.ok(third.tokens.accessToken);
    assert.doesNotMatch(lines.join(), /the-(first|second)-secret/);
  });

  test("that is read half written does not push out the one that the provider still takes", async () => {
    provider.changeClient({ secret: "the-old-secret" });
    const path = file("half", "the-old-secret");
    const { client } = clientBy({ OIDC_CLIENT_SECRET_FILE: path });
    let { tokens } = await login(client);
    for (const content of ["the-new-se", "the-new-secret"]) {
      writeFileSync(path, content);
      ({ tokens } = await refresh(client, tokens.refreshToken));
    }
    provider.changeClient({ secret: "the-new-secret" });
    assert.ok((await refresh(client, tokens.refreshToken)).tokens.accessToken);
  });

  test("may be followed by another, and the provider takes either", async () => {
    for (const secret of ["one-of-two", "two-of-two"]) {
      provider.changeClient({ secret });
      const path = file("two", "one-of-two\ntwo-of-two\n");
      const { client } = clientBy({ OIDC_CLIENT_SECRET_FILE: path });
      assert.equal((await login(client)).subject, "alice");
    }
  });

  test("that vanishes, is empty or is something else stays as it was, which the log says once for each", async () => {
    provider.changeClient({ secret: "a-good-secret" });
    const path = file("vanishing", "a-good-secret");
    const { client, reasons, lines } = clientBy({ OIDC_CLIENT_SECRET_FILE: path });
    let { tokens } = await login(client);
    const renew = async () => {
      ({ tokens } = await refresh(client, tokens.refreshToken));
    };
    rmSync(path);
    await renew();
    await renew();
    for (const content of ["", "a\nb\nc", "b\u0000"]) {
      writeFileSync(path, content);
      await renew();
    }
    assert.deepEqual(reasons(), Array(4).fill("client_credential_unreadable"));
    assert.match(lines.join("\n"), /vanishing, which does not exist/);
    writeFileSync(path, "a-good-secret");
    await renew();
    rmSync(path);
    await renew();
    assert.equal(reasons().length, 5, "and again after it was right");
  });
});

describe("a platform's token", () => {
  const audience = () => provider.issuer;
  const token = () =>
    new SignJWT({ iss: CLIENT_ID, sub: CLIENT_ID, aud: audience(), jti: randomBytes(8).toString("hex") })
      .setProtectedHeader({ alg: "ES256" })
      .setExpirationTime("5 min")
      .setIssuedAt()
      .sign(p256.privateKey);
  before(() => provider.changeClient({ jwks: [publicJwk(p256.publicKey)] }));

  for (const name of ["OIDC_FEDERATED_TOKEN_FILE", "AZURE_FEDERATED_TOKEN_FILE"])
    test(`is read at each use: ${name}`, async () => {
      const path = file(name, await token());
      const { client } = clientBy({ [name]: path });
      const { tokens } = await login(client);
      writeFileSync(path, await token());
      assert.ok((await refresh(client, tokens.refreshToken)).tokens.accessToken);
    });

  test("that is empty for a moment is the one before, which the provider may still take", async () => {
    const path = file("token", await token());
    const { client, reasons } = clientBy({ OIDC_FEDERATED_TOKEN_FILE: path });
    await client.ready();
    writeFileSync(path, "");
    assert.equal((await login(client)).subject, "alice");
    assert.deepEqual(reasons(), ["client_credential_unreadable"]);
  });
});
