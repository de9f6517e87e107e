/** Where clients' metadata documents cannot be fetched, they are not offered, and clients register and sign in. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { pino } from "pino";
import {
  createDocumentReach,
  type LiveDocumentReach,
} from "../../src/clients/metadata-documents/document-reach.ts";
import type { SafeFetchOptions } from "../../src/clients/metadata-documents/safe-fetch.ts";
import { fetchFrom, type Site, sendJson, startSite } from "../clients/support.ts";
import { eventually } from "../support/eventually.ts";
import { authorizeUrl, getJson, newBrowser, register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

describe("clients' metadata documents", () => {
  let site: Site;
  let reach: LiveDocumentReach;
  let seconds = 0;
  /** No way to the internet. */
  let cutOff = true;
  /** What the known document's site answers. */
  let status = 200;
  const said: Array<Record<string, unknown>> = [];

  const testServer = useTestServer(async () => {
    site = await startSite((_req, res) =>
      status === 200 ? sendJson(res, {}) : void res.writeHead(status).end(),
    );
    const safeFetch = (options?: SafeFetchOptions) =>
      fetchFrom(site.ca, {
        ...options,
        async lookup(host) {
          if (cutOff || host === "nowhere.example") throw new Error(`queryA ENOTFOUND ${host}`);
          return [{ address: "127.0.0.1", family: 4 }];
        },
      });
    reach = createDocumentReach({
      probe: site.url("/known.json"),
      fetch: safeFetch(),
      monotonicNow: () => seconds,
      log: pino({ base: null }, { write: (line: string) => void said.push(JSON.parse(line)) }),
      retrySeconds: 0.02,
    });
    return { safeFetch, documentReach: reach };
  });
  before(() => {
    reach.start();
  });
  after(async () => {
    reach.close();
    await site.close();
  });
  beforeEach(async () => {
    // What was tried before is long ago.
    seconds += 60;
  });

  const offered = async () => {
    const metadata = await getJson(`${testServer.baseUrl}/.well-known/oauth-authorization-server`);
    assert.equal(
      metadata.token_endpoint_auth_methods_supported.includes("private_key_jwt"),
      metadata.client_id_metadata_document_supported === true,
    );
    return metadata.client_id_metadata_document_supported === true;
  };
  const signInPage = (client_id: string) => newBrowser().get(authorizeUrl(testServer.baseUrl, { client_id }));
  const isBack = () => eventually("documents are offered", offered);

  test("without a way to the internet none are offered, the log says so once, and who registers signs in", async () => {
    await eventually("it was tried more than once", async () => said.length > 0);
    assert.equal(await offered(), false);
    assert.deepEqual(
      said.map(({ reason }) => reason),
      ["documents_not_reachable"],
    );
    assert.match(String(said[0]?.cause), /ENOTFOUND/);
    await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
  });

  test("who brings one nevertheless reads that this server has no way there, and what its operator does", async () => {
    const page = await signInPage(site.url("/theirs.json"));
    assert.equal(page.status, 503);
    assert.match(page.body, /This server has no way to app\.example:\d+.*the application is not at fault/s);
    assert.match(page.body, /CLIENT_ID_METADATA=off/);
  });

  test("they are offered as soon as the known document can be fetched, without a restart", async () => {
    cutOff = false;
    await isBack();
    assert.equal(said.at(-1)?.reason, undefined);
    assert.equal(said.length, 2);
  });

  test("a stranger's address that leads nowhere is no reason to stop offering documents", async () => {
    const asked = site.requests.length;
    for (let i = 0; i < 3; i++) {
      const page = await signInPage(`https://nowhere.example/${i}.json`);
      assert.equal(page.status, 400);
      assert.match(page.body, /If the application works elsewhere, this server has no way to that address/);
    }
    await eventually("the known document was fetched again", () => site.requests.length > asked);
    assert.equal(site.requests.length, asked + 1, "and only once, whatever strangers do");
    assert.equal(await offered(), true);
  });

  test("when the way is lost, the first sign-in that fails ends the offer", async () => {
    cutOff = true;
    await signInPage(site.url("/theirs.json"));
    await eventually("they are not offered any more", async () => !(await offered()));
    cutOff = false;
    await isBack();
  });

  test("a site that takes this server for a robot is no way to documents either", async () => {
    status = 403;
    await signInPage(`https://nowhere.example/4.json`);
    await eventually("they are not offered any more", async () => !(await offered()));
    assert.match(String(said.at(-1)?.cause), /HTTP status 403/);
    status = 200;
    await isBack();
  });
});
