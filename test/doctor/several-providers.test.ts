/** The doctor where there are several identity providers: each is looked at for itself, and named. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import { AUDIENCE, CLIENT_SECRET, lineOf, look, NOTHING_WORKS } from "./support.ts";

const BASE_URL = "http://localhost:1";
const folder = mkdtempSync(join(tmpdir(), "doctor-several-"));
after(() => rmSync(folder, { recursive: true }));

test("each provider is looked at with its own callback URL, also if another one is away", async () => {
  const partners = await startIdentityProvider({
    port: 0,
    client: { id: "proxy", secret: CLIENT_SECRET, redirectUris: [`${BASE_URL}/auth/callback/partners`] },
    audience: AUDIENCE,
    scopes: ["weather:read"],
    users: [],
    behaviour: { advertisesApiScopes: true },
  });
  const common = { clientId: "proxy", clientSecret: CLIENT_SECRET, audience: AUDIENCE };
  const identityProviders = {
    staff: { ...common, issuer: "http://localhost:9", label: "Staff" },
    partners: { ...common, issuer: partners.issuer, label: "Partners" },
  };
  const CONFIG_FILE = join(folder, "server.yaml");
  writeFileSync(CONFIG_FILE, JSON.stringify({ identityProviders }), { mode: 0o600 });
  const ofEnvironment = { OIDC_ISSUER: "", OIDC_CLIENT_ID: "", OIDC_CLIENT_SECRET: "", OIDC_AUDIENCE: "" };
  try {
    const { findings } = await look({ ...NOTHING_WORKS, ...ofEnvironment, BASE_URL, CONFIG_FILE });
    const lines = findings.filter(({ check }) => check.startsWith("provider.")).map(lineOf);
    const of = (name: string) => lines.filter((line) => line.includes(`“${name}”: `)).join("\n");
    assert.match(of("staff"), /✓ “staff”: Its callback URL here is http:\/\/localhost:1\/auth\/callback\n/);
    assert.match(of("staff"), /✗ “staff”: The identity provider cannot be reached/);
    assert.match(
      of("partners"),
      /✓ “partners”: Its callback URL here is http:\/\/localhost:1\/auth\/callback\/partners/,
    );
    assert.match(of("partners"), /✓ “partners”: The callback URL is registered at the provider/);
    assert.doesNotMatch(of("partners"), /✗/);
  } finally {
    await partners.close();
  }
});
