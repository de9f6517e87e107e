/**
 * The official conformance suite against the authorization server: metadata, then the code grant of a client that has just
 * registered, and of one whose client_id is the URL of its document. The suite prints an address and waits for a browser.
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { fetchFrom, type Site, sendJson, startSite } from "../clients/support.ts";
import { freePort } from "../support/free-port.ts";
import { newBrowser, register } from "../support/oauth-client.ts";
import { signIn } from "../support/sign-in.ts";
import { useTestServer } from "../support/test-server.ts";
import { idJagIssuer, startTokenIssuer } from "../support/token-issuer.ts";
import { failures, runSuite, scenarios, suite, type Verdict } from "./suite.ts";

describe("the official conformance suite, authorization server", async () => {
  const company = await startTokenIssuer({ after });
  let site: Site;
  let port: number;
  let document: object;
  const testServer = useTestServer(async () => {
    port = await freePort();
    site = await startSite((_req, res) => sendJson(res, document));
    return {
      // Only the network is different: names resolve to this computer, whose certificate is trusted.
      safeFetch: (options) => fetchFrom(site.ca, options),
      // So that the metadata that are judged have what the extensions add to them.
      adjust: (config) => ({
        ...config,
        issuers: [idJagIssuer(company)],
      }),
    };
  });
  after(() => site.close());

  const redirectUri = () => `http://127.0.0.1:${port}/callback`;

  /** Both scenarios, in the suite's order, with somebody who signs in when it asks for that. */
  async function run(clientId: string): Promise<Verdict> {
    let signedIn: Promise<unknown> = Promise.resolve();
    const verdict = await runSuite(
      suite,
      [
        ...["authorization", "--url", testServer.baseUrl, "--client-id", clientId],
        ...["--resource", testServer.url, "--port", String(port)],
      ],
      (line) => {
        if (!line.startsWith(`${testServer.baseUrl}/authorize?`)) return;
        const browser = newBrowser(redirectUri());
        signedIn = signIn(browser, line).then((callback) => fetch(callback));
      },
    );
    await signedIn;
    return verdict;
  }

  test("passes for a client that has registered", async (t) => {
    const { client_id } = await register(testServer.baseUrl, { redirect_uris: [redirectUri()] });
    passesAll(t, await run(client_id));
  });

  test("passes for a client with a metadata document", async (t) => {
    const client_id = site.url("/client.json");
    document = {
      client_id,
      client_name: "Conformance suite",
      redirect_uris: [redirectUri()],
      token_endpoint_auth_method: "none",
    };
    passesAll(t, await run(client_id));
  });
});

test("the suite's scenarios of the authorization extensions test clients alone", () => {
  const { authorization, client } = scenarios(suite);
  // Once there are more for authorization servers, they are to be run here.
  assert.deepEqual(authorization.sort(), SCENARIOS);
  for (const name of ["client-credentials-jwt", "enterprise-managed-authorization", "wif-jwt-bearer"])
    assert.ok(client.includes(`auth/${name}`), name);
});

const SCENARIOS = ["authorization-code-grant", "authorization-server-metadata-endpoint"];

function passesAll(t: { diagnostic(line: string): void }, verdict: Verdict): void {
  const passed = verdict.checks.filter(({ status }) => status === "SUCCESS").map(({ id }) => id);
  t.diagnostic(`conformance ${suite.version}: passed ${passed.join(", ")}`);
  assert.deepEqual(failures(verdict), []);
  const ran = new Set(verdict.checks.map(({ scenario }) => scenario));
  assert.deepEqual([...ran].sort(), SCENARIOS, verdict.output);
  assert.ok(
    verdict.checks.every(({ status }) => status === "SUCCESS"),
    verdict.output,
  );
  assert.ok(passed.includes("authorization-server-metadata-cimd"), verdict.output);
  assert.equal(verdict.exitCode, 0, verdict.output);
}
