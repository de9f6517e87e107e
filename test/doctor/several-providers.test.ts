/** The doctor where there are several identity providers: each is looked at for itself, and named, and has a list of its own. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { JWK } from "jose";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import { AUDIENCE, CLIENT_SECRET, lineOf, look, NOTHING_WORKS, runDoctor } from "./support.ts";

const BASE_URL = "http://localhost:1";
const folder = mkdtempSync(join(tmpdir(), "doctor-several-"));
after(() => rmSync(folder, { recursive: true }));

test("doctor: each of several identity providers is checked with its own callback URL and credential, also if another is away", async () => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const keyFile = join(folder, "partners.pem");
  writeFileSync(keyFile, privateKey.export({ format: "pem", type: "pkcs8" }), { mode: 0o600 });
  const jwk = publicKey.export({ format: "jwk" }) as JWK;
  const partners = await startIdentityProvider({
    port: 0,
    client: {
      id: "proxy",
      secret: CLIENT_SECRET,
      jwks: [jwk],
      redirectUris: [`${BASE_URL}/auth/callback/partners`],
    },
    otherApis: { "https://orders.example.com": ["orders:read"] },
    audience: AUDIENCE,
    scopes: ["weather:read"],
    users: [],
    behaviour: { advertisesApiScopes: true },
  });
  const common = { clientId: "proxy", audience: AUDIENCE };
  const identityProviders = {
    staff: { ...common, clientSecret: CLIENT_SECRET, issuer: "http://localhost:9", label: "Staff" },
    partners: { ...common, privateKeyFile: keyFile, issuer: partners.issuer, label: "Partners" },
  };
  const CONFIG_FILE = join(folder, "server.yaml");
  writeFileSync(CONFIG_FILE, JSON.stringify({ identityProviders }), { mode: 0o600 });
  const ofEnvironment = { OIDC_ISSUER: "", OIDC_CLIENT_ID: "", OIDC_CLIENT_SECRET: "", OIDC_AUDIENCE: "" };
  try {
    const environment = { ...NOTHING_WORKS, ...ofEnvironment, BASE_URL, CONFIG_FILE };
    const { findings } = await look(environment);
    const lines = findings.filter(({ check }) => check.startsWith("provider.")).map(lineOf);
    const of = (name: string) => lines.filter((line) => line.includes(`“${name}”: `)).join("\n");
    assert.match(of("staff"), /✗ “staff”: The identity provider cannot be reached/);
    assert.match(of("partners"), /✓ “partners”: The provider accepts the client id and assertion/);
    assert.match(
      of("partners"),
      /✓ “partners”: It takes requests for tokens for other APIs, by token exchange \(RFC 8693\), .*lists that/,
    );
    assert.match(of("partners"), /✓ “partners”: The callback URL is registered at the provider/);
    assert.doesNotMatch(of("partners"), /✗/);

    const { stdout } = await runDoctor(environment);
    const [, staff = "", second = ""] = stdout.split(/^To register at the identity provider /m);
    assert.match(staff, /^“staff”\n +Callback URL +http:\/\/localhost:1\/auth\/callback\n/);
    assert.match(staff, /Its client id and secret go into/);
    assert.match(
      second,
      /^“partners”\n.*\/auth\/callback\/partners\n +Back-channel logout URL +http:\/\/localhost:1\/auth\/backchannel-logout/,
    );
    assert.match(second, /there is no client secret/);
    assert.ok(second.includes(`private_key_jwt, ES256): {"kty":"EC","x":"${jwk.x}","y":"${jwk.y}"`));
    assert.ok(!stdout.includes(String(privateKey.export({ format: "jwk" }).d)));
    const { registration, registrations } = JSON.parse((await runDoctor(environment, ["--json"])).stdout);
    assert.deepEqual(registration, registrations[0]);
    assert.deepEqual(
      registrations.map(({ provider }: { provider: string }) => provider),
      ["staff", "partners"],
    );
  } finally {
    await partners.close();
  }
});
