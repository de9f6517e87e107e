/**
 * Claude Code and Codex, as their users meet this server: at their terminal, with a browser. No account with their makers is
 * needed: `mcp login` asks for none, and a scripted model takes the place of theirs.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createDocumentReach } from "../../src/clients/metadata-documents/document-reach.ts";
import type { SafeFetch, SafeFetchOptions } from "../../src/clients/metadata-documents/safe-fetch.ts";
import { fetchFrom, type Site, sendJson, silent, startSite } from "../clients/support.ts";
import { getJson } from "../support/oauth-client.ts";
import { PLACE_ORDER, withOrders } from "../support/orders.ts";
import { startTestServer, type TestServer, type TestServerOptions } from "../support/test-server.ts";
import { type Agent, agents, type Running } from "./agents.ts";
import { type Desktop, openDesktop } from "./desktop.ts";
import { type ScriptedModel, startScriptedModel } from "./scripted-model.ts";

for (const agent of agents) {
  describe(`${agent.name} ${agent.version}`, () => {
    let site: Site;
    let model: ScriptedModel;
    before(async () => {
      site = await startSite((_req, res) => sendJson(res, documentOf(agent)));
      model = await startScriptedModel();
    });
    after(async () => {
      await model.close();
      await site.close();
    });

    /** Every name leads to the site, which has the agent's document. */
    const connected = (options?: SafeFetchOptions): SafeFetch => {
      const fetch = fetchFrom(site.ca, options);
      return (url, headers) => fetch(new URL(site.url(url.pathname)), headers);
    };
    /** A train: no name leads anywhere. */
    const cutOff = (options?: SafeFetchOptions): SafeFetch =>
      fetchFrom(site.ca, {
        ...options,
        lookup: async (host) => {
          throw new Error(`queryA ENOTFOUND ${host}`);
        },
      });

    /** Somebody with this agent, at whose terminal the server was added. */
    async function withServer(
      options: TestServerOptions,
      story: (here: {
        testServer: TestServer;
        desktop: Desktop;
        signIn(scopes?: readonly string[]): Running;
      }) => Promise<void>,
    ): Promise<void> {
      const testServer = await startTestServer(options);
      const desktop = await openDesktop();
      const started: Running[] = [];
      const signIn = (scopes?: readonly string[]) => {
        const running = agent.signIn(desktop, scopes);
        started.push(running);
        return running;
      };
      try {
        const { code, said } = await agent.addServer(desktop, testServer.url);
        assert.equal(code, 0, said);
        await story({ testServer, desktop, signIn });
      } finally {
        for (const running of started) await running.stop();
        await desktop.close();
        await testServer.close();
      }
    }

    /** What a tool tells the model; undefined if the agent does not have it. */
    async function call(desktop: Desktop, tool: string): Promise<string | undefined> {
      Object.assign(model, { wants: tool, heard: undefined });
      await agent.prompt(desktop, model);
      return model.heard;
    }

    async function whoami(desktop: Desktop): Promise<{ subject: string; clientId: string }> {
      const heard = (await call(desktop, "whoami")) ?? "nothing";
      const [json] = /\{.*\}/s.exec(heard) ?? [];
      assert.ok(json, heard);
      return JSON.parse(json);
    }

    const signedIn = async (desktop: Desktop, running: Running): Promise<void> => {
      await desktop.signIn();
      const { code, said } = await running.ended;
      assert.equal(code, 0, said);
      assert.match(said, /Authenticated with|Successfully logged in/);
    };

    test("registers, its user signs in, a tool is called, it refreshes, and registers anew", async () => {
      await withServer(
        { environment: { CLIENT_ID_METADATA: "off" } },
        async ({ testServer, desktop, signIn }) => {
          await signedIn(desktop, signIn());
          const me = await whoami(desktop);
          assert.equal(me.subject, "alice");

          testServer.clock.ahead += 3_601;
          assert.deepEqual((await whoami(desktop)).clientId, me.clientId);
          assert.ok(
            testServer.log.some(({ grantType, status }) => grantType === "refresh_token" && status === 200),
          );
          assert.equal(await desktop.opened(), 1);

          assert.ok(await testServer.records.delete(`client:${me.clientId}`));
          testServer.clock.ahead += 3_601;
          assert.equal(await call(desktop, "whoami"), undefined, "it has to sign in first");
          await signedIn(desktop, signIn());
          const again = await whoami(desktop);
          assert.equal(again.subject, "alice");
          assert.notEqual(again.clientId, me.clientId);
        },
      );
    });

    test("with documents offered, its document is who it is", async () => {
      await withServer({ safeFetch: connected }, async ({ desktop, signIn }) => {
        await signedIn(desktop, signIn());
        assert.deepEqual((await whoami(desktop)).clientId, agent.document);
        assert.deepEqual(
          site.requests.map(({ url }) => url),
          [new URL(agent.document).pathname],
        );
      });
    });

    test("offline, documents are not offered, and it registers", async () => {
      const reach = createDocumentReach({
        probe: agent.document,
        fetch: cutOff(),
        monotonicNow: () => performance.now() / 1000,
        log: silent,
      });
      reach.start();
      await withServer(
        { safeFetch: cutOff, documentReach: reach },
        async ({ testServer, desktop, signIn }) => {
          const metadata = await getJson(`${testServer.baseUrl}/.well-known/oauth-authorization-server`);
          assert.equal(metadata.client_id_metadata_document_supported, undefined);
          await signedIn(desktop, signIn());
          assert.equal((await whoami(desktop)).subject, "alice");
          reach.close();
        },
      );
    });

    test("offline, with documents offered all the same, the page says that the server has no way there, and how to help that", async () => {
      await withServer({ safeFetch: cutOff }, async ({ desktop, signIn }) => {
        signIn();
        const { text } = await desktop.visit();
        assert.match(text, /This application could not be checked/);
        assert.match(text, /this server cannot reach that page/);
        assert.match(text, /CLIENT_ID_METADATA=off/);
      });
    });

    test("a tool that needs another scope: it says so, and its user signs in for that", async () => {
      const environment = { ...withOrders.environment, CLIENT_ID_METADATA: "off" };
      await withServer({ ...withOrders, environment }, async ({ desktop, signIn }) => {
        await signedIn(desktop, signIn());
        assert.match((await call(desktop, PLACE_ORDER.name)) ?? "", agent.saysOfScopes);
        assert.equal(await desktop.opened(), 1);
        await signedIn(desktop, signIn(["weather:read", "orders:write"]));
        assert.match((await call(desktop, PLACE_ORDER.name)) ?? "", /placed/);
      });
    });

    for (const { when, environment, title, sentence } of [
      {
        when: "the server's secret is wrong",
        environment: { OIDC_CLIENT_SECRET: "another" },
        title: /Signing in is not set up correctly/,
        sentence: /not set up/,
      },
      {
        when: "its user's domain is not admitted",
        environment: { ALLOWED_EMAIL_DOMAINS: "other.example" },
        title: /This server is not open to you/,
        sentence: /access_denied.*other\.example/,
      },
    ])
      test(`it ends with our sentence when ${when}, by the way back on the page`, async () => {
        const settings = { CLIENT_ID_METADATA: "off", ...environment };
        await withServer({ environment: settings }, async ({ desktop, signIn }) => {
          const { ended } = signIn();
          for (let asked = 0; asked < agent.asks; asked++) {
            const visit = await desktop.visit();
            assert.match(visit.text, title);
            await visit.goBack();
          }
          const { code, said } = await ended;
          assert.equal(code, 1, said);
          assert.match(said, sentence);
        });
      });

    test("it ends with our sentence when its user denies", async () => {
      await withServer({ environment: { CLIENT_ID_METADATA: "off" } }, async ({ desktop, signIn }) => {
        const { ended } = signIn();
        for (let asked = 0; asked < agent.asks; asked++)
          await (await desktop.visit({ approve: false })).goBack();
        const { code, said } = await ended;
        assert.equal(code, 1, said);
        assert.match(said, /access_denied.*The user did not approve the request\./);
      });
    });
  });
}

function documentOf({ name, document, redirectUris }: Agent): object {
  return {
    client_id: document,
    client_name: name,
    redirect_uris: redirectUris,
    token_endpoint_auth_method: "none",
  };
}
