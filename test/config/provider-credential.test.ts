/** Which settings prove to the identity provider that this server is its client, and what is wrong with them. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { ConfigError, loadConfig } from "../../src/config/config.ts";

const ENVIRONMENT = {
  BASE_URL: "https://mcp.example.com",
  STORE: "memory",
  SECRET_KEY: "test-secret-key-with-more-than-32-bytes-0123456789",
  OIDC_ISSUER: "https://acme.okta.com",
  OIDC_CLIENT_ID: "proxy",
};
const AUTH0 = { AUTH0_DOMAIN: "tenant.eu.auth0.com", AUTH0_CLIENT_ID: "a", AUTH0_AUDIENCE: "https://api" };

const folder = mkdtempSync(join(tmpdir(), "provider-credential-"));
after(() => rmSync(folder, { recursive: true }));
let files = 0;
function file(content: string): string {
  const path = join(folder, `file-${++files}`);
  writeFileSync(path, content);
  return path;
}

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
const pem = (key: KeyObject) => key.export({ format: "pem", type: "pkcs8" }).toString();
const RSA = file(pem(rsa));
const KEY = file(pem(p256.privateKey));

function credentialOf(environment: Record<string, string>) {
  return loadConfig({ ...ENVIRONMENT, ...environment }).identityProviders[0].credential;
}

function problemsOf(environment: Record<string, string>): string {
  try {
    credentialOf(environment);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  return "none";
}

test("a secret, a file with secrets, a key and a token file are read, for Auth0 as for any provider", () => {
  const secrets = file("one\ntwo\n");
  const token = file("e30.e30.e30\n");
  const { OIDC_ISSUER: _, OIDC_CLIENT_ID: __, ...rest } = ENVIRONMENT;
  for (const base of [ENVIRONMENT, { ...rest, ...AUTH0 }]) {
    const of = (more: Record<string, string>) =>
      loadConfig({ ...base, ...more }).identityProviders[0].credential;
    assert.deepEqual(of({ OIDC_CLIENT_SECRET_FILE: secrets }), { kind: "secret_file", path: secrets });
    assert.deepEqual(of({ OIDC_FEDERATED_TOKEN_FILE: token }), { kind: "token_file", path: token });
    assert.deepEqual(
      of({ OIDC_PRIVATE_KEY_FILE: RSA, OIDC_PRIVATE_KEY_ID: "k", OIDC_PRIVATE_KEY_ALGORITHM: "PS256" }),
      {
        kind: "private_key",
        path: RSA,
        keyId: "k",
        algorithm: "PS256",
      },
    );
  }
});

test("what Azure sets in every pod counts only if nothing else does", () => {
  const azure = { AZURE_FEDERATED_TOKEN_FILE: file("e30.e30.e30") };
  assert.equal(credentialOf(azure).kind, "token_file");
  assert.deepEqual(credentialOf({ ...azure, OIDC_CLIENT_SECRET: "a" }), { kind: "secret", secret: "a" });
});

test("a path in CONFIG_FILE begins at the folder of the file", () => {
  mkdirSync(join(folder, "keys"));
  writeFileSync(join(folder, "keys/entra.pem"), pem(rsa));
  const path = file(`identityProviders:
  staff:
    issuer: https://acme.okta.com
    clientId: proxy
    privateKeyFile: keys/entra.pem
    privateKeyAlgorithm: PS256
`);
  const { OIDC_ISSUER: _, OIDC_CLIENT_ID: __, ...rest } = ENVIRONMENT;
  const [{ credential }] = loadConfig({ ...rest, CONFIG_FILE: path }).identityProviders;
  assert.deepEqual(credential, {
    kind: "private_key",
    path: join(folder, "keys/entra.pem"),
    algorithm: "PS256",
  });
});

describe("a client credential is refused:", () => {
  const short = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey;
  const encrypted = rsa
    .export({ format: "pem", type: "pkcs8", cipher: "aes-256-cbc", passphrase: "a" })
    .toString();
  const certificate = join(folder, "certificate.pem");
  execFileSync("openssl", [
    "req",
    "-x509",
    "-key",
    RSA,
    "-out",
    certificate,
    "-subj",
    "/CN=proxy",
    "-days",
    "1",
  ]);
  const publicKey = p256.publicKey.export({ format: "pem", type: "spki" }).toString();
  const cases: Array<[name: string, environment: Record<string, string>, message: RegExp]> = [
    ["nothing at all", {}, /OIDC_CLIENT_SECRET is missing: .* or name a key or a token file/],
    ["an empty secret file", { OIDC_CLIENT_SECRET_FILE: file("\n") }, /OIDC_CLIENT_SECRET_FILE is empty/],
    ["three secrets", { OIDC_CLIENT_SECRET_FILE: file("a\nb\nc") }, /more than two lines/],
    [
      "a file that is not there",
      { OIDC_PRIVATE_KEY_FILE: "/no/such" },
      /names \/no\/such, which does not exist/,
    ],
    ["a folder", { OIDC_FEDERATED_TOKEN_FILE: folder }, /is no file/],
    ["no key", { OIDC_PRIVATE_KEY_FILE: file("hello") }, /OIDC_PRIVATE_KEY_FILE holds no private key/],
    ["a public key", { OIDC_PRIVATE_KEY: publicKey }, /OIDC_PRIVATE_KEY holds no private key/],
    [
      "a public JWK",
      { OIDC_PRIVATE_KEY: JSON.stringify(p256.publicKey.export({ format: "jwk" })) },
      /no private key/,
    ],
    ["an encrypted key", { OIDC_PRIVATE_KEY_FILE: file(encrypted) }, /under a passphrase/],
    ["a short RSA key", { OIDC_PRIVATE_KEY_FILE: file(pem(short)) }, /1024 bits, which is too short/],
    [
      "a key of another kind",
      { OIDC_PRIVATE_KEY_FILE: file(pem(generateKeyPairSync("x25519").privateKey)) },
      /of a kind that signs no JWT/,
    ],
    [
      "an algorithm that is none of the key's",
      { OIDC_PRIVATE_KEY_FILE: KEY, OIDC_PRIVATE_KEY_ALGORITHM: "RS256" },
      /cannot sign with RS256: .*ES256/,
    ],
    [
      "an algorithm that nobody signs with",
      { OIDC_PRIVATE_KEY_FILE: KEY, OIDC_PRIVATE_KEY_ALGORITHM: "HS256" },
      /OIDC_PRIVATE_KEY_ALGORITHM must be one of RS256/,
    ],
    [
      "another key's certificate",
      { OIDC_PRIVATE_KEY_FILE: KEY, OIDC_CERTIFICATE_FILE: certificate },
      /another key than that of its certificate/,
    ],
    [
      "no certificate",
      { OIDC_PRIVATE_KEY_FILE: KEY, OIDC_CERTIFICATE_FILE: KEY },
      /certificate file beside it that holds no certificate/,
    ],
    ["no token", { OIDC_FEDERATED_TOKEN_FILE: file("hello") }, /OIDC_FEDERATED_TOKEN_FILE holds no JWT/],
    [
      "two of them",
      { OIDC_CLIENT_SECRET: "a", OIDC_PRIVATE_KEY_FILE: KEY },
      /OIDC_PRIVATE_KEY_FILE is set beside OIDC_CLIENT_SECRET: keep one/,
    ],
    [
      "a certificate for a secret",
      { OIDC_CLIENT_SECRET: "a", OIDC_CERTIFICATE_FILE: certificate },
      /OIDC_CERTIFICATE_FILE counts only with OIDC_PRIVATE_KEY/,
    ],
    [
      "a way to send a secret, and a key",
      { OIDC_PRIVATE_KEY_FILE: KEY, OIDC_TOKEN_ENDPOINT_AUTH_METHOD: "client_secret_basic" },
      /says how a secret is sent/,
    ],
  ];
  for (const [name, environment, message] of cases)
    test(name, () => {
      const said = problemsOf(environment);
      assert.match(said, message);
      assert.doesNotMatch(said, /BEGIN|hello|"d":/);
    });
});
