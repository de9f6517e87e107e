/** A link to this server redirects nobody to a site that only a self-registered client names (RFC 9700 §4.11.2). */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { authorize, authorizeUrl, newBrowser, REDIRECT_URI, register } from "../support/oauth-client.ts";
import { startTestServer } from "../support/test-server.ts";
import { assertPage, assertRefused, assertRefusedPage, PERSON, PROGRAM, sendRequest } from "./support.ts";

const ELSEWHERE = "https://phishing.example/cb?x=1";
const PRIVATE = "cursor://localhost/oauth/callback";

const MISTAKES: Array<[string, Record<string, string>, { error: string; reason: string }]> = [
  ["a wrong response_type", { response_type: "token" }, both("unsupported_response_type")],
  ["an illegal scope", { scope: '"' }, { error: "invalid_scope", reason: "malformed_scope" }],
  ["prompt=none", { prompt: "none" }, { error: "interaction_required", reason: "prompt_none" }],
  [
    "a state that is too long",
    { state: "x".repeat(2_100) },
    { error: "invalid_request", reason: "invalid_parameter" },
  ],
];

function both(code: string) {
  return { error: code, reason: code };
}

/** Where the page's link leads. */
function wayBack(page: string): URL {
  const href = /<p class="back"><a href="([^"]+)"/.exec(page)?.[1] ?? "";
  return new URL(href.replaceAll("&amp;", "&"));
}

describe("an error before consent, for a client that registered itself", () => {
  for (const [name, parameters, expected] of MISTAKES)
    test(`${name}: a page that says where its link leads, and the link tells the client`, async () => {
      const testServer = await startTestServer();
      try {
        const client = await register(testServer.baseUrl, { redirect_uris: [ELSEWHERE, PRIVATE] });
        for (const redirect_uri of [ELSEWHERE, PRIVATE]) {
          const url = authorizeUrl(testServer.baseUrl, client, { redirect_uri, ...parameters });
          const reply = await sendRequest(url, { headers: PERSON });
          await assertRefusedPage(testServer, reply, { status: 400, ...expected });
          assert.match(reply.text, /Back to (https:\/\/phishing\.example|cursor:\/\/localhost)</);
          const back = wayBack(reply.text);
          assert.ok(back.href.startsWith(redirect_uri), back.href);
          assert.equal(back.searchParams.get("error"), expected.error);
          assert.equal(back.searchParams.get("state"), parameters.state ?? "the-state");
          assert.equal(back.searchParams.get("iss"), testServer.baseUrl);
          await assertRefused(testServer, await sendRequest(url, { headers: PROGRAM }), {
            status: 400,
            ...expected,
          });
        }
        const posted = new URL(
          authorizeUrl(testServer.baseUrl, client, { redirect_uri: ELSEWHERE, ...parameters }),
        );
        if (parameters.prompt === undefined) {
          const reply = await sendRequest(`${testServer.baseUrl}/authorize`, {
            form: [...posted.searchParams],
            headers: PERSON,
          });
          assert.deepEqual([reply.status, reply.location], [400, undefined]);
          assertPage(reply);
        }
        const loopback = await register(testServer.baseUrl);
        const direct = await sendRequest(authorizeUrl(testServer.baseUrl, loopback, parameters), {
          headers: PERSON,
        });
        assert.ok(direct.location?.href.startsWith(REDIRECT_URI), "a program waits on this computer");
        assert.equal(direct.location?.searchParams.get("error"), expected.error);
      } finally {
        await testServer.close();
      }
    });

  test("after the user was asked, what they decided goes to the client at once", async () => {
    const testServer = await startTestServer();
    try {
      const client = await register(testServer.baseUrl, { redirect_uris: [ELSEWHERE] });
      const parameters = await authorize(testServer.baseUrl, client, {
        approve: false,
        browser: newBrowser("https://phishing.example/"),
        parameters: { redirect_uri: ELSEWHERE },
      });
      assert.equal(parameters.get("error"), "access_denied");
    } finally {
      await testServer.close();
    }
  });
});

describe("an error before consent goes to the client at once where the operator vouches for it:", () => {
  const broken = { redirect_uri: "https://app.example/cb", response_type: "token" };

  test("a client of the configuration, whatever scheme its application has", async () => {
    const redirect_uris = ["https://app.example/cb", "acme-desk:/cb"];
    const testServer = await startTestServer({
      environment: { CLIENTS: JSON.stringify([{ client_id: "desk", redirect_uris }]) },
    });
    try {
      for (const redirect_uri of redirect_uris) {
        const url = authorizeUrl(testServer.baseUrl, { client_id: "desk" }, { ...broken, redirect_uri });
        const reply = await sendRequest(url, { headers: PERSON });
        assert.ok(reply.location?.href.startsWith(`${redirect_uri}?error=unsupported_response_type`));
      }
    } finally {
      await testServer.close();
    }
  });

  test("a redirect URI of ALLOWED_REDIRECT_URIS, a scheme without a dot among them", async () => {
    const testServer = await startTestServer({
      environment: { ALLOWED_REDIRECT_URIS: "https://app.example/cb, acme-desk://oauth/cb" },
    });
    const listed = ["https://app.example/cb", "acme-desk://oauth/cb"];
    try {
      const client = await register(testServer.baseUrl, { redirect_uris: listed });
      for (const redirect_uri of listed) {
        const url = authorizeUrl(testServer.baseUrl, client, { ...broken, redirect_uri });
        const reply = await sendRequest(url, { headers: PERSON });
        assert.ok(reply.location?.href.startsWith(`${redirect_uri}?error=`));
      }
    } finally {
      await testServer.close();
    }
  });
});
