/** The operator's commands where two identity providers have users of the same sub: nobody is ended in place of another. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { runAdmin } from "../../src/cli/admin/program.ts";
import { callTool, register, signInForTokens, type Tokens } from "../support/oauth-client.ts";
import { ran } from "../support/ran.ts";
import { redisForTests, skipWithoutRedisServer } from "../support/redis.ts";
import { ALICE, startTestServer, type TestServer } from "../support/test-server.ts";
import { jsonLines } from "./support.ts";

describe("npm run admin with two identity providers", { skip: skipWithoutRedisServer() }, () => {
  let testServer: TestServer;
  before(async () => {
    const redis = await redisForTests();
    testServer = await startTestServer({
      ...(redis.url !== undefined && { redisUrl: redis.url }),
      partners: { users: [ALICE] },
    });
  });
  after(() => testServer.close());

  const admin = (...args: string[]) =>
    ran((streams) => runAdmin(args, () => testServer.environment, streams));
  const listed = async (...args: string[]) =>
    jsonLines((await admin("grants", "list", "--json", ...args)).stdout).map(({ issuer }) => issuer);
  const isAlive = async ({ access_token }: Tokens) =>
    (await callTool(testServer.url, access_token, "whoami")).status === 200;
  async function signedIn(identity_provider: string): Promise<Tokens> {
    const client = await register(testServer.baseUrl);
    return await signInForTokens(testServer.baseUrl, client, { parameters: { identity_provider } });
  }

  test("lists by issuer, and ends nobody by a sub alone", async () => {
    const { identityProvider, partners } = testServer;
    const [staff, partner] = [await signedIn("staff"), await signedIn("partners")];
    assert.deepEqual(
      (await listed("--user", "alice")).sort(),
      [identityProvider.issuer, partners.issuer].sort(),
    );
    assert.deepEqual(await listed("--issuer", "partners"), [partners.issuer]);
    assert.deepEqual(await listed("--issuer", identityProvider.issuer, "--user", "alice"), [
      identityProvider.issuer,
    ]);
    assert.deepEqual(await listed("--issuer", "https://nobody.example"), []);
    assert.match((await admin("grants", "list")).stdout, /ISSUER/);

    for (const name of ["alice", ALICE.email]) {
      const refused = await admin("grants", "revoke", "--user", name, "--yes");
      assert.notEqual(refused.code, 0);
      assert.match(refused.stderr, /say whose it is with --issuer \(staff, http/);
    }
    const unknown = await admin("grants", "revoke", "--user", "alice", "--issuer", "nobody", "--yes");
    assert.match(unknown.stderr, /There is no identity provider nobody: staff, http/);
    assert.ok((await isAlive(staff)) && (await isAlive(partner)));

    const ended = await admin("grants", "revoke", "--user", "alice", "--issuer", "partners", "--yes");
    assert.equal(ended.code, 0, ended.stderr);
    assert.deepEqual([await isAlive(staff), await isAlive(partner)], [true, false]);
    const both = [await signedIn("partners"), await signedIn("partners")];
    assert.equal((await admin("grants", "revoke", "--issuer", "partners", "--yes")).code, 0);
    for (const each of both) assert.ok(!(await isAlive(each)));
    assert.ok(await isAlive(staff));
  });
});
