/** Identity providers of four makes or places in one server: glewlwyd (C), LemonLDAP::NG (Perl), and the embedded one twice. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { askedBy, type Browser, type Page } from "../../dev/client/browser.ts";
import { entriesOn } from "../support/connections.ts";
import { eventually } from "../support/eventually.ts";
import {
  type Glewlwyd,
  type GlewlwydUser,
  glewlwydPerson,
  skipWithoutGlewlwyd,
  startGlewlwyd,
} from "../support/glewlwyd.ts";
import {
  DOCTOR_WHO,
  type Lemonldap,
  prepareLemonldap,
  signInAtLemonldap,
  skipWithoutLemonldap,
} from "../support/lemonldap.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  type Registered,
  redeem,
  refresh,
  register,
  type Tokens,
} from "../support/oauth-client.ts";
import { ALICE, useTestServer } from "../support/test-server.ts";

/** At glewlwyd the sub is made there; at the others a name may be the same. */
const GLEWLWYD_ALICE: GlewlwydUser = {
  username: "alice",
  password: "alice-password",
  name: "Alice of glewlwyd",
  email: "alice@glewlwyd.example",
  scopes: ["weather:read"],
};

describe("identity providers of different make in one server", {
  skip: skipWithoutGlewlwyd() || skipWithoutLemonldap(),
}, () => {
  let glewlwyd: Glewlwyd;
  let lemonldap: Lemonldap;
  let client: Registered;
  const testServer = useTestServer(async () => {
    [glewlwyd, lemonldap] = await Promise.all([
      startGlewlwyd({
        users: [GLEWLWYD_ALICE],
        scopes: ["weather:read"],
        refreshTokenOneUse: "always",
        accessTokenSeconds: 3_600,
      }),
      prepareLemonldap(),
    ]);
    const file = `  glewlwyd:
    issuer: ${glewlwyd.issuer}
    clientId: proxy
    clientSecret: proxy-secret
    logoutTokenExp: optional
    label: glewlwyd
  lemonldap:
    issuer: ${lemonldap.issuer}
    clientId: proxy
    clientSecret: proxy-secret
    scopes: [openid, profile, email, offline_access, "weather:read"]
    label: LemonLDAP
`;
    return { partners: { users: [{ ...ALICE, subject: DOCTOR_WHO }], keys: { file } } };
  });
  before(async () => {
    const callback = (name: string) => `${testServer.baseUrl}/auth/callback/${name}`;
    await Promise.all([
      glewlwyd.addClient({
        id: "proxy",
        secret: "proxy-secret",
        redirectUri: callback("glewlwyd"),
        backchannelLogoutUri: `${testServer.baseUrl}/auth/backchannel-logout`,
      }),
      lemonldap.start({
        id: "proxy",
        secret: "proxy-secret",
        redirectUri: callback("lemonldap"),
        scopes: { "weather:read": `$uid eq "${DOCTOR_WHO}"` },
      }),
    ]);
    client = await register(testServer.baseUrl);
  });
  after(() => Promise.all([glewlwyd?.close(), lemonldap?.close()]));

  type Name = "staff" | "partners" | "glewlwyd" | "lemonldap";
  const NAMES: readonly Name[] = ["staff", "partners", "glewlwyd", "lemonldap"];
  const person = () => glewlwydPerson(glewlwyd, GLEWLWYD_ALICE);

  /** At the provider's login page, as whoever has an account there. */
  async function logIn(name: Name, browser: Browser, page: Page, atGlewlwyd = person()): Promise<Page> {
    if (name === "glewlwyd") return await atGlewlwyd.signIn(browser, page);
    if (name === "lemonldap") return await signInAtLemonldap(browser, page, DOCTOR_WHO);
    assert.equal(askedBy(page), "login");
    return await browser.submit(page, { login: name === "staff" ? "alice" : DOCTOR_WHO });
  }

  async function signIn(name: Name, atGlewlwyd = person()): Promise<Tokens> {
    const browser = newBrowser();
    const consent = await browser.get(authorizeUrl(testServer.baseUrl, client, { identity_provider: name }));
    const loginPage = await browser.submit(consent, {}, { button: "approve" });
    const { redirectedTo, url, body } = await logIn(name, browser, loginPage, atGlewlwyd);
    const code = redirectedTo?.searchParams.get("code") ?? null;
    assert.ok(code, `no code of ${name} at ${url.pathname}: ${body.slice(0, 500)}`);
    return (await redeem(testServer.baseUrl, client, code)).body;
  }

  const issuerOf = async (tokens: Tokens) =>
    (await testServer.grantOf(tokens.access_token))?.principal.issuer;
  const isAlive = async (tokens: Tokens) =>
    (await callTool(testServer.url, tokens.access_token, "whoami")).status === 200;

  test("the choice has all of them, and each signs its own in, with its scopes, and renews them", async () => {
    const { body } = await newBrowser().get(authorizeUrl(testServer.baseUrl, client));
    for (const label of ["Staff", "Partners", "glewlwyd", "LemonLDAP"])
      assert.match(body, new RegExp(`<strong>${label} `));
    const issuers = [
      testServer.identityProvider.issuer,
      testServer.partners.issuer,
      glewlwyd.issuer,
      lemonldap.issuer,
    ];
    for (const [index, name] of NAMES.entries()) {
      const tokens = await signIn(name);
      assert.equal(await issuerOf(tokens), issuers[index]);
      assert.equal(tokens.scope, "weather:read", name);
      const before = (await testServer.grantOf(tokens.access_token))?.upstream?.accessToken;
      testServer.clock.ahead = 3_500;
      const renewed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.equal(renewed.status, 200, `${name}: ${JSON.stringify(renewed.body)}`);
      const grant = await testServer.grantOf(renewed.body.access_token);
      assert.notEqual(grant?.upstream?.accessToken, before, name);
      testServer.clock.ahead = 0;
    }
  });

  test("the same sub at two of them is two people", async () => {
    const [partners, lemon] = [await signIn("partners"), await signIn("lemonldap")];
    const subjects = await Promise.all(
      [partners, lemon].map(async ({ access_token }) => {
        const principal = (await testServer.grantOf(access_token))?.principal;
        return principal?.kind === "user" ? principal.subject : undefined;
      }),
    );
    assert.deepEqual(subjects, [DOCTOR_WHO, DOCTOR_WHO]);
    const browser = newBrowser();
    const page = await browser.get(`${testServer.baseUrl}/connections`);
    const loginPage = await browser.submit(page, {}, { button: "lemonldap" });
    const own = await logIn("lemonldap", browser, loginPage);
    const shown = entriesOn(own).flatMap(({ grantIds }) => grantIds);
    const id = async ({ access_token }: Tokens) => (await testServer.grantOf(access_token))?.id ?? "";
    assert.ok(shown.includes(await id(lemon)));
    assert.ok(!shown.includes(await id(partners)));
  });

  test("a sign-out at one of them ends what belongs to it, and nothing else", async () => {
    const atGlewlwyd = person();
    const ended = await signIn("glewlwyd", atGlewlwyd);
    const others = await Promise.all(
      (["staff", "partners", "lemonldap"] as const).map((name) => signIn(name)),
    );
    await atGlewlwyd.signOut();
    await eventually("the sign-out has arrived", async () => !(await isAlive(ended)));
    for (const each of others) assert.ok(await isAlive(each));
  });

  test("when one of them is away, the others go on", async () => {
    const atStaff = await signIn("staff");
    await glewlwyd.close();
    testServer.clock.ahead = 3_700; // its discovery is asked for anew
    assert.equal((await refresh(testServer.baseUrl, client, atStaff.refresh_token)).status, 200);
    testServer.clock.ahead = 0;
    assert.equal((await signIn("lemonldap")).scope, "weather:read");
  });
});
